"""Patient records: from a CSV to a synthetic CSV and a report, with rules that every synthetic patient keeps.

    python examples/healthcare.py [--rows 4000] [--epochs 60] [--out healthcare]

The input is made here: health figures of the RAND Health Insurance Experiment (statsmodels' `randhie`, real and public)
with simulated names, dates and laboratory values around them. In your own work the file is there already, and the
script begins at `main`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from raysynth import CTGAN, TableSchema, load_synthetic_model
from raysynth.constraints import ConstraintSet, Expression, FixedCombinations, Inequality
from raysynth.data.table import as_table
from raysynth.evaluation import evaluate_synthetic_data
from raysynth.schema import ColumnSchema, Kind

CATEGORICAL = ["gender", "blood_type", "diagnosis", "medication"]
CONTINUOUS = ["age", "height", "weight", "blood_pressure", "cholesterol"]
MEDICATIONS = {
    "healthy": ["none"],
    "hypertension": ["lisinopril", "amlodipine"],
    "diabetes": ["metformin", "insulin"],
    "pregnancy": ["none", "folic acid"],
}


def main(rows: int, epochs: int, out: Path) -> None:
    """Fit, sample, check, evaluate and save."""
    out.mkdir(parents=True, exist_ok=True)
    source = simulated_records(rows, out / "patient_records.csv")
    patients = pd.read_csv(source, parse_dates=["admitted", "discharged"])
    train, holdout = patients.iloc[: rows * 4 // 5], patients.iloc[rows * 4 // 5 :]

    # Rules between columns; the kinds of all other columns are inferred, and printed with a reason.
    schema = TableSchema(
        columns=(
            ColumnSchema("gender", Kind.CATEGORICAL, "string"),
            ColumnSchema("diagnosis", Kind.CATEGORICAL, "string"),
            ColumnSchema("medication", Kind.CATEGORICAL, "string"),
            ColumnSchema("age", Kind.CONTINUOUS, "int64"),
            ColumnSchema("admitted", Kind.DATETIME, "timestamp[us]"),
            ColumnSchema("discharged", Kind.DATETIME, "timestamp[us]"),
        ),
        constraints=(
            Inequality("admitted", "discharged"),
            FixedCombinations(("diagnosis", "medication")),
            Expression("diagnosis != 'pregnancy' or (gender == 'female' and 16 <= age <= 45)"),
        ),
    )
    # Rare values and extremes are protected in any case, names and e-mail addresses are invented, keys are made anew.
    # For a guarantee add epsilon=3.0 (the contract's differential_privacy=True): with tables this small, take
    # 'bayesian_network' or 'dp_tvae' then; see examples/README.md.
    ctgan = CTGAN(categorical_columns=CATEGORICAL, schema=schema, epochs=epochs, batch_size=500, seed=1)
    ctgan.fit(train)
    ctgan.save(out / "patients.raysynth")

    model = load_synthetic_model(out / "patients.raysynth")
    synthetic = model.sample(n_samples=10_000, seed=2)
    synthetic.to_csv(out / "synthetic_patient_data.csv", index=False)
    print(synthetic.head(5).T.to_string())

    kept = ConstraintSet(model.schema_.constraints, model.schema_).holds(as_table(synthetic).to_arrow())
    copied = synthetic["email"].isin(patients["email"]).sum()
    print(
        f"\nrules kept by {kept.mean():.0%} of {len(kept):,} patients; e-mail addresses taken from real ones: {copied}"
    )

    older_women = model.sample(n_samples=500, conditions={"gender": "female", "age": (60, 75)}, seed=3)
    print(f"women from 60 to 75, as asked: {len(older_women)}, mean age {older_women['age'].mean():.1f}")

    evaluation = evaluate_synthetic_data(
        real_data=train,
        synthetic_data=synthetic,
        categorical_columns=CATEGORICAL,
        continuous_columns=CONTINUOUS,
        holdout_data=holdout,
        metrics=["statistical_similarity", "privacy_metrics"],
    )
    print(evaluation.summary())
    evaluation.generate_report(out / "report.html")
    print(f"written to {out}/: patients.raysynth, synthetic_patient_data.csv, report.html")


def simulated_records(rows: int, path: Path) -> Path:
    """Write a CSV of patients: real figures of chronic disease, everything else simulated around them."""
    from faker import Faker
    from statsmodels.api import datasets

    rng = np.random.default_rng(0)
    faker = Faker("en_US")
    faker.seed_instance(0)
    real = datasets.randhie.load_pandas().data.sample(rows, random_state=0)
    female = rng.random(rows) < 0.52
    age = np.clip(20 + 2.2 * real["disea"].to_numpy() + rng.normal(12, 14, rows), 16, 95).astype(int)
    height = np.round(rng.normal(np.where(female, 164, 177), 7), 1)
    weight = np.round(rng.normal(height - 96 + 0.15 * age, 11), 1)
    pressure = np.round(rng.normal(98 + 0.45 * age + 0.2 * (weight - 75), 10)).astype(int)
    sick = rng.random(rows)
    diagnosis = np.where(sick < (pressure - 95) / 90, "hypertension", np.where(sick > 0.9, "diabetes", "healthy"))
    diagnosis = np.where(female & (age <= 45) & (rng.random(rows) < 0.1), "pregnancy", diagnosis)
    admitted = pd.Timestamp("2023-01-01") + pd.to_timedelta(rng.integers(0, 700, rows), unit="D")
    records = pd.DataFrame(
        {
            "patient_id": [f"PAT-{i:06d}" for i in rng.permutation(900_000)[:rows]],
            "name": [faker.name() for _ in range(rows)],
            "email": [f"{faker.user_name()}{i}@mail.example" for i in range(rows)],
            "gender": np.where(female, "female", "male"),
            "blood_type": rng.choice(
                ["O+", "A+", "B+", "O-", "A-", "AB+"], rows, p=[0.38, 0.34, 0.1, 0.07, 0.07, 0.04]
            ),
            "age": age,
            "height": height,
            "weight": weight,
            "blood_pressure": pressure,
            "cholesterol": np.round(rng.normal(150 + 0.9 * age, 30)).astype(int),
            "chronic_diseases": real["disea"].round(1).to_numpy(),
            "diagnosis": diagnosis,
            "medication": [rng.choice(MEDICATIONS[d]) for d in diagnosis],
            "admitted": admitted,
            "discharged": admitted + pd.to_timedelta(rng.poisson(1 + age / 20), unit="D"),
        }
    )
    records.loc[rng.random(rows) < 0.05, "cholesterol"] = np.nan
    records.to_csv(path, index=False)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4000, help="patients in the simulated table")
    parser.add_argument("--epochs", type=int, default=60, help="passes of CTGAN over the table; 300 is closer")
    parser.add_argument("--out", type=Path, default=Path("healthcare"), help="folder of the results")
    arguments = parser.parse_args()
    main(arguments.rows, arguments.epochs, arguments.out)
