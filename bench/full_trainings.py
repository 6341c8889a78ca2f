"""What `make full` trains: the paper's problems at its sizes, and the experiments of its other tables."""

from bench.trainings import Training
from matstream.shared.fields import SPECTRA

SEEDS = (1, 2)  # beside 0
SHOT, SCRATCH = "full-few-shot-6", "full-from-scratch-6"
MIXED, TOGETHER, NOISE = "full-mixed-5-10", "full-co-training", "full-noise"
EIGENVALUES, EIGENVECTORS = "full-eigenvalues-5", "full-eigenvectors-5"

PROBLEMS = [
    Training(f"full/{problem}", f"full-{problem}", {}, ("--analyse",) if problem == "eigenvectors-5" else ())
    for problem in (
        *("transpose-10", "add-10", "matvec-10", "matmul-5", "eigenvalues-5", "eigenvalues-8"),
        *("eigenvectors-5", "inverse-5", "singular-values-4", "singular-values-5", "svd-4", "eigenvalues-10"),
    )
]
OF_SEEDS = [
    Training("full/eigenvalues-5", f"{EIGENVALUES}-seed-{seed}", {"stream.seed": seed}) for seed in SEEDS
]
OF_SPECTRA = [
    Training(
        "full/eigenvalues-5",
        f"full-spectrum-{spectrum.replace('_', '-')}",
        {"stream.coefficients": "gaussian", "stream.spectrum": spectrum, "training.samples": 100_000},
        ("--across", "spectrum"),
    )
    for spectrum in SPECTRA
]
FEW = {"stream.dim": 6, "training.samples": 60_000, "training.validate_every": 2_560}
OTHERS = [
    Training("full/eigenvalues-5", SHOT, {**FEW, "training.start_from": f"runs/{EIGENVALUES}"}),
    Training("full/eigenvalues-5", SCRATCH, FEW),
    Training("full/mixed-5-10", MIXED, {}, ("--across", "dim=5,6,7,8,9,10")),
    Training("full/co-training", TOGETHER, {}),
    Training("full/eigenvalues-5", NOISE, {"stream.noise": 0.05}, ("--across", "noise=0,0.05,0.1")),
]
OF_LAWS = [
    Training(f"laws/{problem}", f"laws-{problem}", {}, ("--across", "coefficients"))
    for problem in ("transpose", "matmul", "eigenvalues", "eigenvectors", "inverse", "singular-values")
]
TRAININGS = [*PROBLEMS, *OF_SEEDS, *OF_SPECTRA, *OTHERS, *OF_LAWS]
