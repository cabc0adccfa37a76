"""Keys: how they are recognised.

A key that no two rows share is told by that alone; one that repeats looks like a category of many values. It is told by
its name where its values do not contradict, or by values that are codes: many different ones, with digits enough to
number people. What is common in many rows each (a few shops, some products) is worth learning, and stays a category.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow.types as pt

from raysynth.kinds.description import Column, Description, Family, Maker
from raysynth.kinds.evidence import (
    Clue,
    Evidence,
    Found,
    PublicField,
    Rank,
    Seen,
    named_like_key,
    provider_by_name,
    share_of,
    without_accents,
    words_of,
)
from raysynth.kinds.identifier.pattern import (
    ROWS_BESIDE_AN_END,
    infer_pattern,
    integer_pattern,
    row_number_pattern,
    sparse_pattern,
)

MANY = 20  # different values that a key has
MANY_BY_VALUE = 50  # where the name says nothing
FEWEST_THINGS = 50  # whole numbers of what no word calls persons: 'plot_id' of fewer is a category
ROWS_BY_NAME = 100  # rows that a value has on average, at most; no limit for keys of persons
ROWS_BY_VALUE = 50
_ENOUGH = 0.9  # share of values that must look like it

# Words run together: 'Kundennummer', 'SUBJID', 'empno'; 'Mitarbeiter' alone counts them. All without accents.
_NUMBER_WORD = r"(?:nr|nummer|numer|number|numero|num|no|id|tunnus|cislo|kood)"
_JOINED = (
    r"(?:kunden|patienten|versicher(?:ten|ungs)|mitarbeiter|mitglieds?|personal|personen|konto|fall|akten|schuler|steuer"
    r"|sozialversicherungs|renten|ausweis|matrikel|vertrags|policen|depot|vs|sv|kd|pat)(?:nr|nummer|id)"
    r"|(?:p|pt|pat|u?subj|cust|emp|mem|mbr|usr|user|cli|client|person|patient|member|student|case|acct|acc|hh)(?:id|no|num)"
    r"|(?:klant|patient|pasient|pacient|pacjent|verzekerde|medewerker|leerling|deelnemer|huishoud|kund|kunde|person"
    r"|medlem|elev|anstalld|hushall|husstand|husholdning|journal|fodsel|lop|asiakas|potilas|henkilo|jasen|klient"
    rf"|zakaznik)(?:en|e|s|er|n)?{_NUMBER_WORD}"
    r"|bsn|cpf|pesel|cpr|cnp|egn|amka|oib|jmbg|isikukood|rodne cislo|codice fiscale|matricola|matricula"
)
# 'nr_pacjenta', 'numero de cliente': a number word before a person in the singular, for the plural counts them.
_NUMBER_OF = (
    r"^(?:id|nr|numer|numero|num|codice|codigo|cod|cislo) (?:d[aeiou]l? )?(?:klient|klienta|pacjenta|pracownika"
    r"|uczestnika|osoby|gospodarstwa|cliente|paciente|paziente|utente|beneficiario|funcionario|empleado|aluno|alumno"
    r"|segurado|asegurado|assicurato|assistito|dipendente|socio|alunno|famiglia|familia|hogar|agregado|contribuinte"
    r"|pacienta|zakaznika|osoby)$"
)
_PERSON = re.compile(
    r"\b(?:patient|customer|client|employee|person|student|member|owner|holder|applicant|author|guest|passenger"
    r"|subscriber|subject|participant|respondent|user|account|policy|insured|insurance|record|mrn|case|individual"
    r"|household|citizen|resident|staff|worker|donor|child|mother|borrower|debtor|cardholder|ssn|iban|nhs|ahv|svnr"
    r"|kunde|kundin|versicherter|mitglied|assure|salarie|employe|adherent|usager|eleve|paciente|cliente|empleado|alumno"
    r"|asegurado|usuario|paziente|dipendente|utente|assicurato|dni|nif|curp)s?\b"
    rf"|\b(?:{_JOINED})\b|{_NUMBER_OF}|\b(?:pt|pat|subj|cust|emp|mem|mbr|usr|acct|hh) (?:id|no|num|nr)\b"
)
_AT_WORK = re.compile(  # persons who have rows together with others
    r"\b(?:doctor|physician|clinician|surgeon|therapist|dentist|nurse|teacher|tutor|driver|courier|seller|agent|broker"
    r"|officer|judge|reviewer|player|coach|manager|arzt|lehrer|fahrer|medecin|medico)s?\b"
)
_THEIRS = re.compile(
    r"record|case|acc|konto|iban|polic|contract|vertrag|insur|household|haus|\b(?:hh|mrn)\b|akten|fall|journal"
)
_NUMBER_WORDS = frozenset({"id", "uid", "no", "nr", "num", "number", "nummer", "key", "code", "identifier"})
_KEY = re.compile(
    r"(?:^| )(?:id|ids|uid|uuid|guid|key|pk|nr|no|num|number|identifier|rowid|ref|reference|serial|mrn|iban|bban|ssn"
    rf"|nhs|account|konto|policy|passport|licen[cs]e|plate|vin|imei|token|hash|insurance|nummer|{_JOINED})(?: \d+)?$"
    rf"|^(?:id|numero)(?: d[eiu])? |{_NUMBER_OF}"
)
_WHOLE_KEY = re.compile(
    r"(?:^| )(?:id|uid|key|pk|nr|no|number|identifier|ref|reference|mrn|iban|ssn|nhs|account|policy|nummer"
    rf"|{_JOINED})(?: \d+)?$|^(?:id|numero)(?: d[eiu])? |{_NUMBER_OF}"
)
_CALENDAR = re.compile(r"\b(?:year|season|quarter|month|week|day|hour|minute)s?\b")  # 'yearID': numbered by all alike
_THING = re.compile(r"product|item|sku|model|drug|icd|diagnos|procedure|flight|course|route|isbn|asin|part|category")
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*|(?:19|20)\d\d(?:0\d|1[0-2])[0-3]\d|\d{4}-W\d\d.*")
_CODE = re.compile(r"[A-Za-z0-9]+(?:[-_:/. ][A-Za-z0-9]+)*")
_NUMBER = re.compile(r"[-+]?\d[\d,]*\.\d+|[-+]?\d{1,3}(?:,\d{3})+")


def repeated_key(name: str, examples: Sequence[str], n_distinct: int, rows: int, *, is_text: bool) -> str | None:
    """Why a column is a key though values repeat, in words; None where it is none.

    Args:
        name: of the column.
        examples: some distinct values as text.
        n_distinct: number of distinct values.
        rows: that have a value.
        is_text: False for whole numbers, which only a name tells from amounts.
    """
    words, each = without_accents(words_of(name)), rows / max(n_distinct, 1)
    if n_distinct < MANY or not examples:
        return None
    named = (_KEY if is_text else _WHOLE_KEY).search(words) is not None
    named = named and (is_text or _CALENDAR.search(words) is None)
    alone = _PERSON.sub("", words).strip() == "" and (is_text or not words.endswith("s"))  # 'students' counts them
    of_person = _PERSON.search(words) is not None and (named or alone)
    few_things = not is_text and not of_person and n_distinct < FEWEST_THINGS and set(words.split()) - _NUMBER_WORDS
    few_rows = of_person or (each <= ROWS_BY_NAME and not few_things)
    if (named or of_person) and few_rows and (not is_text or share_of(_has_digits, examples) >= _ENOUGH):
        return "a key by its name"
    is_coded = n_distinct >= MANY_BY_VALUE and each <= ROWS_BY_VALUE and provider_by_name(name) != "postcode"
    is_coded = is_coded and _THING.search(words) is None
    if is_text and is_coded and share_of(_is_code, examples) >= _ENOUGH and share_of(_DATE.fullmatch, examples) < 0.5:
        return "a key by its values"
    return None


def names_persons(name: str) -> bool:
    """Whether a key's name says that it numbers persons (or their records, accounts, policies)."""
    return _PERSON.search(without_accents(words_of(name))) is not None


def names_anybody(name: str) -> bool:
    """Whether a key's name says that it numbers persons, those too who are in rows of others (a patient's doctor)."""
    return names_persons(name) or _AT_WORK.search(without_accents(words_of(name))) is not None


def numbers_persons(name: str) -> bool:
    """Whether a key's name says that it numbers persons, not what one has many of: 'EmpID', no 'patient_visit_id'."""
    words = without_accents(words_of(name))
    rest = _PERSON.sub(" ", words).split()
    return names_persons(name) and _THEIRS.search(words) is None and set(rest) <= _NUMBER_WORDS


def _has_digits(value: str) -> bool:
    return re.search(r"\d", value) is not None and len(value.split()) <= 9


def _is_code(value: str) -> bool:
    """Whether a text has a code's form, and digits enough to number people."""
    if len(value) < 6 or _CODE.fullmatch(value) is None or _NUMBER.fullmatch(value) is not None:
        return False
    spaced = " " in value and not re.fullmatch(r"[A-Z0-9]{2,5}(?: [A-Z0-9]{1,5})+", value)
    return not spaced and len(re.sub(r"\D", "", value)) >= 5


_SEQUENCE_ROWS = 50  # a shorter run of consecutive numbers is no evidence of a key
_COINCIDENCES = 10  # equal pairs that independent whole numbers of this range would have at least: none has e**-10
_FEWEST_KEYS = 20  # different texts that are keys where other rows have none
_KEY_NAME = re.compile(r"(?:^| )(?:id|uuid|guid)$")


def key_pattern(evidence: Evidence) -> str:
    """How a column's keys look, in the language of `pattern.py`."""
    seen = evidence.seen
    if not evidence.is_text and seen.extremes is not None:
        bits = seen.type.bit_width - pt.is_signed_integer(seen.type) if evidence.is_integer else 53
        low, high, largest = int(seen.extremes[0]), int(seen.extremes[1]), min(2**bits, 2**63) - 1
        numbers, keys = None, seen.n_rows - seen.missing if seen.is_unique else seen.n_distinct
        if seen.is_unique or low < ROWS_BESIDE_AN_END:  # persons counted through; others' may be on their papers
            numbers = row_number_pattern(low, high, keys, largest)
        if numbers is None and seen.is_unique:
            numbers = sparse_pattern(low, high, keys, largest)
        return numbers or integer_pattern(low, high, seen.n_rows, largest)
    return infer_pattern(evidence.examples, seen.n_rows)


def _numbered(evidence: Evidence) -> Found | None:
    """Whole numbers that number rows."""
    seen = evidence.seen
    if not evidence.is_number:
        return None
    fewest = _FEWEST_KEYS if seen.missing or not evidence.is_integer else 3
    is_named_so = named_like_key(seen.name) or "code" in words_of(seen.name)
    if evidence.are_whole and is_named_so and seen.all_unique and seen.n_distinct >= fewest:
        have = "has" if not seen.missing else "that has a number has"
        return Found(f"every row {have} another whole number, and it is named like a key")
    if not (evidence.is_integer and seen.is_unique and seen.n_rows >= _SEQUENCE_ROWS):
        return None
    if _is_sequence(seen):
        return Found("the numbers of a sequence without gaps, each once")
    if _is_drawn_once(seen):
        return Found("each whole number once, where measured ones would repeat: a key")
    return None


def _is_sequence(seen: Seen) -> bool:
    if seen.extremes is None:
        return False
    low, high = seen.extremes
    return high - low + 1 == seen.n_rows


def _is_drawn_once(seen: Seen) -> bool:
    """Whether so many whole numbers in so short a range cannot differ by chance; years and steps of a series may."""
    assert seen.extremes is not None
    low, high = (int(v) for v in seen.extremes)
    n = seen.n_rows - seen.missing
    step = seen.distribution().value.step or 1
    is_series = (high - low) // step + 1 == n
    are_years = low >= 1000 and high < 3000
    return n * n / 2 >= _COINCIDENCES * ((high - low) // step + 1) and not is_series and not are_years


def _repeated(evidence: Evidence) -> Found | None:
    """A key whose values repeat."""
    seen = evidence.seen
    if seen.all_unique or not (evidence.is_text or evidence.are_whole):
        return None
    rows = evidence.rows_with_value
    why = repeated_key(seen.name, evidence.examples, seen.n_distinct, rows, is_text=evidence.is_text)
    if why is None:
        return None
    return Found(f"{why}, {evidence.amount} different in {rows:,} rows: regenerated, never copied")


def _different(evidence: Evidence) -> Found | None:
    seen = evidence.seen
    if not evidence.is_text:
        return None
    if seen.is_unique and seen.n_rows > 2:
        return Found("every row has another text: regenerated, never copied")
    if seen.all_unique and seen.n_distinct >= _FEWEST_KEYS:
        return Found("every row that has a text has another one: regenerated, never copied")
    return None


def _public(field: PublicField) -> Found | None:
    if field.held not in ("number", "text") or not _KEY_NAME.search(words_of(field.name)):
        return None
    dtype = "int64" if field.held == "number" else "string"
    return Found("a key by its name: regenerated", {"dtype": dtype})


def _maker(column: Column) -> Maker:
    from raysynth.kinds.identifier.making import IdentifierEncoder

    return IdentifierEncoder.from_schema(column)


def _whose(column: Column) -> int:
    return 0 if numbers_persons(column.name) else 1 if names_persons(column.name) else 4


KIND = Description(
    Family.MADE,
    clues=(Clue(Rank.NUMBERED, _numbered), Clue(Rank.KEY, _repeated), Clue(Rank.DIFFERENT, _different)),
    public_clues=(Clue(Rank.KEY, _public),),
    fits=lambda evidence: evidence.is_text or evidence.are_whole,
    cure="a key is text or a whole number; declare it continuous or categorical",
    fills={"pattern": key_pattern},
    takes=frozenset({"pattern"}),
    words=("id", "key"),
    maker=_maker,
    whose=_whose,
)
