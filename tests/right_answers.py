"""What the exercises' solutions must give for the inputs of each exercise, in their order."""

RIGHT = {
    "00.pad_share": [100 * (1 - 22 / 96), 100 * (1 - 15 / 18), 0.0, 100 * (1 - 22 / 96)],
    "00.product_share": [],  # judged on profiles
    "00.percentile": [3.0, 99.0, 10.0, 7.0],
    "00.throughput": [16.0, 2.5, 1600.0],
    "01.same": [True] + [False] * 7,
    "01.fixed_sizes": [[], ["b", "c"], ["b", "a"], ["c"]],
    "01.foldable": [1, 3, 0, 2, 2, 1],
    "01.export_it": [],  # judged by its files
    "02.missing": [
        {"BiasGelu": 4}, {"Attention": 6}, {"SkipLayerNormalization": 12}, {}, {},
    ],
    "02.insert": [],  # judged by running the edited graphs
    "02.remove_dead": [],
    "02.gelu_rule": [],
    "02.gather_first": [],
    "03.asymmetric": [(2.4 / 255, 32), (2 / 255, 0), (4 / 255, 255), (4 / 255, 64)],
    "03.left_in_float": [
        {"MatMul": 16}, {"Gather": 24, "MatMul": 16}, {}, {"Gather": 24, "MatMul": 16},
        {"Attention": 48},
    ],
    "03.in_8_bits": [],  # judged by its file
    "03.reader": [],  # judged by what it gives
    "03.choose": [],  # judged by its files
    "04.batches": [],  # judged by what they cost
    "04.in_order": [],  # judged on a model
    "04.options": [],  # judged by its attributes
    "04.labeller": [],  # judged on a model
    "05.was_cut": [],  # judged on a tokenizer
    "05.predict_off_loop": [],  # judged in a real application, as the next two
    "05.service": [],
    "05.admit": [],
    "05.next_batch": [[2, 0, 4], [3, 0], [0, 1], [0, 1, 2, 3, 4, 5], [1, 2], [0], [0, 2]],
    "06.score_missed": [False, True, True, False, False, False, False],
    "06.f1_difference": [],  # judged by its intervals
    "06.gate": [],  # judged on files
    "06.same_everywhere": [],  # judged on encoders
    "07.in_share": [],  # judged, to name the mistake
    "07.error_rate": [0.1, 0.0, 0.25, 0.25, 0.2],
    "07.next_state": [
        "closed", "open", "closed", "closed", "half-open", "open", "open", "closed", "open",
        "half-open",
    ],
    "07.differing": [],  # judged by what it asks and counts
    "07.drifted": [],
    "07.patient": [],
    "08.intensity": [0.5, 64.0, 24.0, 48.0],
    "08.open_on": [],  # judged by what it opens
    "08.copies": [2, 4, 3, 0, 2, 4],
    "08.layer_norm": [],  # judged by running its graph
    "08.bound": [],  # judged with a session that can only be bound
    "08.in_fp32": [1, 0, 0],
    "08.static_shapes": [1, 3, 2, 1],
}  # fmt: skip
