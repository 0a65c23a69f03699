"""A classifier of the user's made fast: export, fuse, quantize, tune, evaluate, gate, promote.

Each stage tries some candidates, times them side by side with the best so far, and keeps what was
measurably faster and still right. What it found is kept on disk: a run that was killed goes on
where it stopped.
"""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tutorial_utils import (
    assets,
    batching,
    benchmark,
    classifiers,
    gate,
    graph,
    labelled,
    machine,
    paths,
    profile,
    quality,
)
from tutorial_utils.classifiers import Classifier, EncodedTexts
from tutorial_utils.recipe import (
    MODEL,
    BadModel,
    Manifest,
    Recipe,
    check_name,
    read_manifest,
    write_version,
)
from tutorial_utils.variants import TUNED, Rightness, Variant, Workshop

STAGES = ("reference", "export", "fuse", "quantize", "tune", "evaluate")
BUDGETS = (1024, 256, 512, 2048, 4096)  # tokens of a batch; the first is the default
TEXTS_TIMED = 200
_ROOMS = (
    "optimize", "variants", "export", "rewrites", "selection", "fusion", "quantization",
    "embeddings", "smoothing", "benchmark", "quality",
)  # fmt: skip


@dataclass(frozen=True)
class Effort:
    """How long to measure: rounds and seconds of each turn, as in ``benchmark.compare``.

    thorough: off times one text only,
    quantizes only the graph that is fastest in fp32, and keeps the default token budget.
    """

    rounds: int = 7
    seconds: float = 0.3
    max_texts: int = 4_000
    thorough: bool = True


QUICK = Effort(rounds=5, seconds=0.1, max_texts=2_000, thorough=False)


@dataclass(frozen=True)
class Trial:
    """One candidate of a stage. time: relative to the best before it, below 1 is faster.

    agreement, difference: answers and score against PyTorch, on texts that the gate does not use.
    """

    stage: str
    name: str
    kept: bool
    reason: str = ""
    time: gate.Ratio | None = None
    megabytes: float | None = None
    agreement: float | None = None
    difference: float | None = None

    def __str__(self) -> str:
        text = f"{'kept' if self.kept else 'rejected'} {self.name}"
        if self.time:
            text += f": {self.time}"
        return f"{text}: {self.reason}" if self.reason else text


@dataclass(frozen=True)
class Outcome:
    """What came out: promoted to ``version``, or refused with the checks that were missed.

    times: workload → candidate → ``p50_ms`` and, relative to PyTorch, ``ratio``, ``low``, ``high``.
    """

    name: str
    family: str
    task: str
    trials: tuple[Trial, ...]
    checks: tuple[gate.Check, ...]
    recipe: Recipe
    times: dict[str, dict[str, dict[str, float]]]
    quality: quality.Quality | None
    notes: tuple[str, ...]
    machine: str
    version: str | None

    @property
    def promoted(self) -> bool:
        return self.version is not None

    @property
    def missed(self) -> tuple[gate.Check, ...]:
        return tuple(check for check in self.checks if not check.passed)


def optimize(
    source: str | Path,
    out: Path,
    *,
    data: Path | None = None,
    registry: Path | None = None,
    name: str = "model",
    limits: gate.Limits = gate.Limits(),
    effort: Effort = Effort(),
    progress: Callable[[str], None] = print,
) -> Outcome:
    """Make the classifier in ``source`` fast, and promote it to a registry if the gate lets it.

    data: labelled texts (``labelled.read``); without them random tokens measure agreement only.
    registry: where versions go, ``out/registry`` by default. Calling it again continues.

    Raises:
        BadName: ``name`` cannot be a model's name in a registry.
        BadClassifier, BadData: what was given cannot be used.
        CannotExport: the model has no ONNX form that computes the same.
    """
    check_name(name)
    source, out = str(source), Path(out)
    classifier = classifiers.open_classifier(source)
    texts = labelled.read(data, classifier) if data else None
    folder = out / "work" / _fingerprint(source, data, effort)
    workshop = Workshop(classifier, folder, texts, effort.max_texts)
    previous = _Previous.find(Path(registry or out / "registry") / name, classifier)
    return _Run(workshop, previous, effort, progress).judge(name, limits)


@dataclass(frozen=True)
class _Previous:
    """The version promoted before, or a note on why there is none to compare with."""

    shelf: Path
    manifest: Manifest | None = None
    note: str | None = None

    @classmethod
    def find(cls, shelf: Path, classifier: Classifier) -> "_Previous":
        numbers = [int(p.name) for p in shelf.glob("*") if p.name.isdecimal()]
        if not numbers:
            return cls(shelf)
        try:
            manifest = read_manifest(shelf / str(max(numbers)))
        except BadModel as error:
            return cls(shelf, note=f"The version before was not compared with: {error}")
        if manifest.labels != classifier.labels:
            note = f"Version {manifest.version} has other labels, and was not compared with."
            return cls(shelf, note=note)
        return cls(shelf, manifest)

    @property
    def version(self) -> str | None:
        return self.manifest and self.manifest.version

    @property
    def file(self) -> Path:
        return self.shelf / self.version / MODEL


class _Run:
    """The stages, one method each; what a stage returns is JSON, kept under its name."""

    def __init__(
        self,
        workshop: Workshop,
        previous: _Previous,
        effort: Effort,
        progress: Callable[[str], None],
    ):
        self.workshop, self.previous = workshop, previous
        self.effort, self.progress = effort, progress
        self.found: dict[str, dict] = {}
        for number, stage in enumerate(STAGES, 1):
            self.found[stage] = self._kept(stage, f"[{number}/{len(STAGES)}] {stage}")

    def _kept(self, stage: str, label: str) -> dict:
        # What is compared with another version is measured again when there is a newer one.
        against = f"_{self.previous.version}" if stage == "evaluate" else ""
        record = self.workshop.folder / f"{stage}{against}.json"
        if record.exists():
            self.progress(f"{label}: kept from the run before")
            return json.loads(record.read_text())
        start = time.perf_counter()
        self.progress(f"{label} …")
        result = getattr(self, f"_{stage}")()
        for trial in map(_trial, result.get("trials", ())):
            self.progress(f"    {trial}")
        with paths.replacing(record) as temporary:
            temporary.write_text(json.dumps(result, indent=2))
        self.progress(f"    {time.perf_counter() - start:.0f} s")
        return result

    def _reference(self) -> dict:
        return {"megabytes": self.workshop.reference()}

    def _export(self) -> dict:
        made = self.workshop.exported()
        return {"trials": _plain([Trial("export", made.name, True, megabytes=_size(made))])}

    def _fuse(self) -> dict:
        made = self.workshop.fused()
        usable = ["exported", *(v.name for v in made if not v.problem)]
        best, trials = self._race("fuse", usable, made)
        notes = [v.note for v in made if v.note]
        return {"best": best, "graphs": usable, "trials": trials, "notes": notes}

    def _quantize(self) -> dict:
        before = self.found["fuse"]["best"]
        graphs = self.found["fuse"]["graphs"] if self.effort.thorough else [before]
        made = [self.workshop.int8(source) for source in graphs]
        right = {v.name: self.workshop.rightness(v.path) for v in made if not v.problem}
        best, trials = self._race("quantize", [before, *right], made, right)
        return {"best": best, "trials": trials}

    def _tune(self) -> dict:
        """The token budget of a batch; threads stay one a core, as notebook 04 finds."""
        default, *others = map(str, BUDGETS)
        if self.workshop.labels is None or not self.effort.thorough:
            return {"budget": int(default)}
        file, rows = self.workshop.file(self.found["quantize"]["best"]), self._timed_rows()
        found = self._compare({b: self._candidate(file, rows, int(b)) for b in (default, *others)})
        ratios = found.verdicts
        best = _fastest(ratios, default)
        trials = [
            Trial("tune", f"batches of {n} tokens", n == best, _why(n, best, r), r)
            for n, r in ratios.items()
        ]
        return {"budget": int(best), "trials": _plain(trials)}

    def _evaluate(self) -> dict:
        """PyTorch, each step that was kept, and the version promoted before, side by side."""
        best, budget = self.found["quantize"]["best"], self.found["tune"]["budget"]
        kept = dict.fromkeys(("exported", self.found["fuse"]["best"], best))
        models = {"pytorch": self.workshop.classifier}
        models |= {name: self.workshop.file(name) for name in kept}
        times, against = {}, {}
        for workload, rows in self._workloads(budget).items():
            candidates = {n: self._candidate(m, rows, budget) for n, m in models.items()}
            if self.previous.version:
                candidates["promoted before"] = self._candidate_before(rows, budget)
            found = self._compare(candidates)
            times[workload] = {name: {"p50_ms": t.p50_ms} for name, t in found.timings.items()}
            for name, verdict in found.verdicts.items():
                times[workload][name] |= asdict(verdict)
            if self.previous.version:
                against[workload] = asdict(found.verdict(best, "promoted before"))
        return {"times": times, "against": against}

    def judge(self, name: str, limits: gate.Limits) -> Outcome:
        """Hold the best candidate against the limits; promote it when it keeps to all of them."""
        best, evaluated = self.found["quantize"]["best"], self.found["evaluate"]
        file = self.workshop.file(best)
        right = self.workshop.rightness(file, self.workshop.judging)
        times = {workload: _ratio(found[best]) for workload, found in evaluated["times"].items()}
        size = graph.megabytes(file) / self.found["reference"]["megabytes"]
        evidence = gate.Evidence(
            agreement=right.agreement,
            time=times,
            size=size,
            score=right.score,
            **self._against_previous(file),
        )
        checks = gate.check(evidence, limits)
        recipe = self._recipe()
        notes = self._notes(right, limits)
        version = None
        if all(check.passed for check in checks):
            if self.previous.version and assets.sha256(self.previous.file) == assets.sha256(file):
                version = self.previous.version
                notes.append(f"This file is version {version} already; nothing was added.")
            else:
                figures = {
                    "agreement": right.agreement,
                    "time": times["one text"].ratio,
                    "size": size,
                }
                figures |= {right.score.metric: right.score.score} if right.score else {}
                normal = self._profile(file, recipe, right, notes)
                version = self._promote(file, recipe, figures, normal)
        classifier = self.workshop.classifier
        records = [t for stage in STAGES for t in self.found[stage].get("trials", ())]
        return Outcome(
            name=name,
            family=classifier.family,
            task=classifier.task,
            trials=tuple(map(_trial, records)),
            checks=checks,
            recipe=recipe,
            times=evaluated["times"],
            quality=right.score,
            notes=tuple(notes),
            machine=str(machine.describe()),
            version=version,
        )

    def _profile(
        self, file: Path, recipe: Recipe, right: Rightness, notes: list[str]
    ) -> dict | None:
        """What the service knows drift by: the texts that the gate judged on."""
        texts = self.workshop.judging
        if self.workshop.labels is None or len(texts) < profile.LEAST:
            notes.append(
                f"The version has no profile, so that drift cannot be seen: that needs "
                f"{profile.LEAST} texts to judge on (--data)."
            )
            return None
        rows = [self.workshop.rows[i] for i in texts]
        logits = self.workshop.run(file)[texts]
        never = profile.unknown_ids(self.workshop.classifier.tokenizer())
        # As if one text more agreed and one did not: none in a few hundred is not none ever.
        differ = (1 - right.agreement) * len(texts)
        expected = {"disagreement": (differ + 1) / (len(texts) + 2)}
        return profile.Profile.of_rows(
            rows,
            quality.probabilities(logits, recipe.task),
            never=never,
            task=recipe.task,
            **(expected if recipe.task != "regression" else {}),
        ).to_dict()

    def _promote(
        self, file: Path, recipe: Recipe, figures: dict[str, float], normal: dict | None
    ) -> str:
        tokenizer = self.workshop.folder / "tokenizer.json"
        self.workshop.classifier.tokenizer().save(str(tokenizer))
        shelf, labels = self.previous.shelf, self.workshop.classifier.labels
        return write_version(
            shelf.parent, shelf.name, file, tokenizer, recipe, labels, figures, normal
        ).name

    def _recipe(self) -> Recipe:
        classifier = self.workshop.classifier
        steps = ("exported", self.found["fuse"]["best"], self.found["quantize"]["best"], "tuned")
        return Recipe(
            steps=tuple(dict.fromkeys(steps)),
            session=TUNED,
            token_budget=self.found["tune"]["budget"],
            max_length=classifier.max_length,
            padding=classifier.padding,
            task=classifier.task,
        )

    def _notes(self, right: Rightness, limits: gate.Limits) -> list[str]:
        rows, score = self.workshop.rows, right.score
        notes = [*self.found["fuse"]["notes"], *filter(None, [self.previous.note])]
        if not score:
            notes.append(
                "Accuracy was not measured: no labelled texts were given (--data). Agreement is "
                f"that on {len(rows)} rows of random tokens, which says less than real texts would."
            )
            return notes
        notes.append(f"Chosen by a quarter of {len(rows):,} texts, judged by the others.")
        if score.high - score.low > 2 * limits.score_fall:
            notes.append(
                f"The interval of the {score.metric} difference is wider than the tolerance: with "
                "more labelled texts the gate would decide more surely."
            )
        return notes

    def _against_previous(self, file: Path) -> dict:
        """Evidence against the version promoted before."""
        if not self.previous.version:
            return {}
        beside = (self.previous.file.parent, self.previous.manifest.recipe)
        right = self.workshop.rightness(file, self.workshop.judging, beside)
        return {
            "previous": self.previous.version,
            "previous_score": right.score,
            "previous_time": {
                workload: gate.Ratio(**found)
                for workload, found in self.found["evaluate"]["against"].items()
            },
        }

    def _race(
        self,
        stage: str,
        names: list[str],
        made: list[Variant],
        right: dict[str, Rightness] | None = None,
    ) -> tuple[str, list[dict]]:
        """Time files, one text and one batch; the fastest right one, and a trial for each made.

        The first name is the reference: it stays when none is measurably faster.
        """
        first = names[0]
        rounds: dict[str, list[tuple]] = {name: [] for name in names}
        workloads = self._workloads(BUDGETS[0]) if len(names) > 1 else {}
        for workload in ("one text", "one batch"):
            if rows := workloads.get(workload):
                found = self._compare(
                    {n: self._candidate(self.workshop.file(n), rows) for n in names}
                )
                for name in names:
                    rounds[name].append((found.rounds[name], found.rounds[first]))
        ratios = {n: gate.Ratio.over_workloads(rounds[n]) for n in names[1:]}
        wrong = {n: p for n, r in (right or {}).items() if (p := _wrong(r))}
        best = _fastest({n: r for n, r in ratios.items() if n not in wrong}, first)
        trials = []
        for variant in made:
            if variant.problem:
                trials.append(Trial(stage, variant.name, False, variant.problem))
                continue
            name, ratio, found = variant.name, ratios[variant.name], (right or {}).get(variant.name)
            trials.append(
                Trial(
                    stage,
                    name,
                    kept=name == best,
                    reason=wrong.get(name) or _why(name, best, ratio),
                    time=ratio,
                    megabytes=_size(variant),
                    agreement=found and found.agreement,
                    difference=found.score.difference if found and found.score else None,
                )
            )
        return best, _plain(trials)

    def _workloads(self, budget: int) -> dict[str, tuple[tuple[int, ...], ...]]:
        """What is timed: a text of median length, a batch of such, and the texts themselves."""
        classifier, real = self.workshop.classifier, self.workshop.labels is not None
        lengths = [len(row) for row in self.workshop.rows]
        length = int(np.median(lengths)) if real else min(128, classifier.max_length)
        rows = tuple(map(tuple, classifier.random_rows(max(1, budget // length), length)))
        if not self.effort.thorough:
            return {"one text": rows[:1]}
        workloads = {"one text": rows[:1], "one batch": rows}
        return workloads | ({"texts": self._timed_rows()} if real else {})

    def _timed_rows(self) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(row) for row in self.workshop.rows[:TEXTS_TIMED])

    def _candidate(self, model, rows, budget: int | None = None) -> EncodedTexts:
        """rows in batches of ``budget`` tokens, or all in one."""
        batches = (
            batching.by_tokens([len(row) for row in rows], budget) if budget else [range(len(rows))]
        )
        padding = self.workshop.classifier.padding
        return EncodedTexts(model, rows, tuple(map(tuple, batches)), padding, TUNED)

    def _candidate_before(self, rows, budget: int) -> EncodedTexts:
        recipe = self.previous.manifest.recipe
        batches = batching.by_tokens([len(row) for row in rows], budget)
        batches = tuple(map(tuple, batches))
        return EncodedTexts(self.previous.file, rows, batches, recipe.padding, recipe.session)

    def _compare(self, candidates: dict[str, EncodedTexts]) -> benchmark.Comparison:
        effort = self.effort
        return benchmark.compare(
            candidates, rounds=effort.rounds, seconds=effort.seconds, minimum_calls=1
        )


def _wrong(found: Rightness) -> str | None:
    """Why a candidate is not worth showing to the gate. Looser: a quarter of the texts decides."""
    if found.agreement < 0.95:
        return f"answers differ too often: {found.agreement:.2%} agree"
    if found.score and found.score.high < 0:
        return f"{found.score.metric} falls by {-found.score.difference:.4f}"
    return None


def _fastest(ratios: dict[str, gate.Ratio], otherwise: str) -> str:
    """The fastest that is measurably faster than the reference, or ``otherwise``."""
    won = {n: r for n, r in ratios.items() if r.word == "faster"}
    return min(won, key=lambda n: won[n].ratio) if won else otherwise


def _why(name: str, best: str, ratio: gate.Ratio) -> str:
    word = ratio.word
    return f"faster, but {best} is faster still" if word == "faster" and name != best else word


def _ratio(found: dict[str, float]) -> gate.Ratio:
    return gate.Ratio(found["ratio"], found["low"], found["high"])


def _plain(trials: list[Trial]) -> list[dict]:
    return [asdict(trial) for trial in trials]


def _trial(record: dict) -> Trial:
    time = record["time"] and gate.Ratio(**record["time"])
    return Trial(**(record | {"time": time}))


def _size(variant: Variant) -> float:
    return graph.megabytes(variant.path)


def _fingerprint(source: str, data: Path | None, effort: Effort) -> str:
    """What the kept results depend on: model, data, code, libraries and the machine."""
    here = machine.describe()
    digest = hashlib.sha256(f"{here}{here.versions}{effort}".encode())
    folder = Path(source)
    files = sorted(p for p in folder.iterdir() if p.is_file()) if folder.is_dir() else []
    rooms = [Path(__file__).with_name(f"{room}.py") for room in _ROOMS]
    for file in [*files, *([Path(data)] if data else []), *rooms]:
        digest.update(f"{file.name} {assets.sha256(file)}".encode())
    digest.update(b"" if folder.is_dir() else source.encode())
    return digest.hexdigest()[:16]
