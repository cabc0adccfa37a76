"""Keys that several rows share, told from categories and amounts of many values."""

from __future__ import annotations

import pytest

from raysynth.kinds.identifier.kind import names_persons, repeated_key
from raysynth.kinds.personal.kind import personal_by_name


def numbered(form: str, n: int = 200) -> list[str]:
    return [form.format(i * 7919 + 10_007) for i in range(n)]


# Dutch, Italian, Portuguese, Polish, Swedish, Danish, Norwegian, Finnish, Czech
_ELSEWHERE = """klantnummer patiëntnummer BSN huishoudnummer codice_fiscale codice_paziente id_paziente matricola CPF
id_paciente nr_utente pesel nr_pacjenta numer_klienta personnummer kundnr löpnummer cpr journalnr kundenr fødselsnummer
pasientnr medlemsnummer henkilötunnus asiakasnumero rodne_cislo PatID hhid"""
ELSEWHERE = _ELSEWHERE.split()


@pytest.mark.parametrize(
    ("name", "values", "rows", "is_text"),
    [
        ("record_number", numbered("MRN-{:08d}"), 1600, True),
        ("PatientID", numbered("{:07d}"), 40_000, True),
        ("patient", numbered("P{:07d}"), 1600, True),
        ("Versicherung insurance no", numbered("A{:09d}"), 1600, True),
        ("account", numbered("DE{:020d}"), 900, True),
        ("kennung", numbered("x{:08d}"), 900, True),
        ("customer_id", numbered("{}"), 9000, False),
        ("mrn", numbered("{}"), 900, False),
        ("Kundennummer", numbered("{}"), 9000, False),
        ("Versichertennr", numbered("V-{:06d}"), 900, True),
        ("SUBJID", numbered("{}"), 900, False),
        ("empno", numbered("{}"), 900, False),
        ("id_paciente", numbered("{}"), 900, False),
        ("Kunde", [f"K{i}" for i in range(100, 300)], 900, True),
        *((name, numbered("{}"), 900, False) for name in ELSEWHERE),
    ],
)
def test_keys_are_told_by_name_or_values(name: str, values: list[str], rows: int, is_text: bool) -> None:
    assert repeated_key(name, values, len(values), rows, is_text=is_text) is not None


@pytest.mark.parametrize(
    ("name", "values", "rows", "is_text"),
    [
        ("diagnosis", [f"{a}{i}.{j}" for a in "EIJKM" for i in range(10, 20) for j in range(4)], 900, True),
        ("store_id", [f"S{i}" for i in range(12)], 900, True),  # few
        ("product_id", numbered("{:06d}", 60), 90_000, True),  # 1,500 rows each
        ("insurance", ["Aetna", "Humana", "Cigna"] * 10, 900, True),
        ("day", [f"2021-{m:02d}-{d:02d}" for m in range(1, 13) for d in range(1, 29)], 900, True),
        ("day", [f"{d:02d}.{m:02d}.1999" for m in range(1, 13) for d in range(1, 29)], 900, True),
        ("price", [f"{i * 17}.{i % 90 + 10}" for i in range(100, 300)], 900, True),
        ("zip", [f"{i:05d}" for i in range(10_000, 10_200)], 900, True),
        ("comment", [f"called {i} times about 12345 and {i}" for i in range(200)], 900, True),
        ("education num", [str(i) for i in range(1, 30)], 900, False),
        ("salary", numbered("{}"), 900, False),
        ("num_lab_procedures", numbered("{}"), 9000, False),
        ("yearID", [str(y) for y in range(1871, 2025)], 9000, False),  # numbered by all alike
        ("week_no", [str(w) for w in range(1, 54)], 900, False),
        ("Mitarbeiter", numbered("{}"), 900, False),  # how many a firm has
        ("num_pacjentow", numbered("{}"), 900, False),  # how many, as the next two
        ("nr_employees", numbered("{}"), 900, False),
        ("pazienti", numbered("{}"), 900, False),
        ("codice_regione", numbered("{}"), 900, False),
        ("paid", numbered("{}"), 900, False),
        ("plot_id", numbered("{}")[:24], 560, False),  # few things
        ("store no", numbered("{}")[:30], 900, False),
        ("casino", numbered("{}"), 900, False),
        ("humid", numbered("{}"), 900, False),
    ],
)
def test_what_is_no_key_stays_a_category_or_a_number(name: str, values: list[str], rows: int, is_text: bool) -> None:
    assert repeated_key(name, values, len(set(values)), rows, is_text=is_text) is None


@pytest.mark.parametrize(
    ("name", "form", "provider"),
    [
        ("surname", "Weber{}", "last_name"),
        ("Home address", "{} Mill Lane", "address"),
        ("e-mail", "u{}@x.org", "email"),
    ],
)
def test_personal_data_is_told_by_name_where_values_fit(name: str, form: str, provider: str) -> None:
    letters = [chr(97 + i % 26) + chr(97 + i // 26) for i in range(60)]
    assert personal_by_name(name, [form.format(x) for x in letters], 60) == provider
    assert personal_by_name(name, ["1", "2"] * 30, 60) is None if provider == "last_name" else True
    assert personal_by_name(name, [form.format(x) for x in letters], 5) is None


def test_names_of_persons() -> None:
    assert all(names_persons(n) for n in ELSEWHERE)
    assert names_persons("PatientNr") and names_persons("customer_id") and not names_persons("product_id")


@pytest.mark.parametrize("name", ["addr_state", "address country", "Street Type"])
def test_areas_and_kinds_of_addresses_are_none(name: str) -> None:
    assert personal_by_name(name, [f"{a}{b}" for a in "ABCDEFG" for b in "KLMNOPQ"], 49) is None
