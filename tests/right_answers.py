"""What the exercises' solutions must give for the inputs of each exercise, in their order."""

import numpy as np

RIGHT = {
    "00.pad_share": [100 * (1 - 22 / 96), 100 * (1 - 15 / 18), 0.0, 100 * (1 - 22 / 96)],
    "00.product_share": [],  # judged on profiles
    "00.percentile": [3.0, 99.0, 10.0, 7.0],
    "00.throughput": [16.0, 5.0, 1600.0],
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
    "04.best_batch": [16, 64, 1, None],
    "04.padding": [1 / 13, 0.0, 0.49, 0.0],
    "04.restore": [[0.0, 0.1, 0.2, 0.3], [7.0, 5.0, 6.0], [3.0, 2.0, 4.0, 1.0]],
    "05.stable_softmax": [
        [0.0900306, 0.2447285, 0.6652410],
        [0.2689414, 0.7310586],
        [0.5, 0.5],
        [1.0, 0.0, 0.0],
    ],
    "05.admit": [200, 200, 429, 429, 429],
    "06.score_missed": [False, True, True, False, False, False],
    "06.texts_needed": [2592, 4000, 2000, 1369],
    "07.in_share": [bool(int(digit)) for digit in "000111111110000010100001110001100010"],
    "07.next_state": [
        "closed", "open", "closed", "closed", "half-open", "open", "open", "closed", "open",
        "half-open",
    ],
    "07.ks_statistic": [0.0, 0.5, 1.0, 0.3, 0.5],
    "08.copies": [2, 4, 3, 0, 2, 4],
    "08.layer_norm": [
        np.array([-1.342, -0.4473, 0.4473, 1.342]),
        np.array([1.164, -1.549, 0.4861, -0.10175]),
        np.array([[1 / 63**0.5] * 63 + [-(63**0.5)], [-0.9995] * 32 + [0.9995] * 32]),
        np.array([0.9043, 0.9043, -1.508, -0.3015]),
    ],
    "08.in_fp32": [1, 0, 0],
    "08.bound": [
        np.array([[[0.0, 2, 4], [6, 8, 10]], [[2, 2, 2]] * 2]),
        np.array([[[-5.0] * 4], [[-1.0] * 4], [[-16.0] * 4]]),
    ],
    "08.static_shapes": [1, 3, 2, 1],
}  # fmt: skip
