"""Recognising personal data by a column's name and its values, conservatively: what is no such thing must be modelled.

Formats that are distinctive by themselves (e-mail and IP addresses, bank accounts and cards with their check digits,
social security numbers, written-out telephone numbers) are recognised whatever the column is called, and so are full
names, most of which begin with a usual given name and end in a usual family name (Faker's lists of five countries):
unless they recur and the column's name says that they are of public life ('director', 'composer'), or it says nothing
and each stands in so many rows that they sort the rows (salespeople): then they are a category. Given or family names
alone are recognised where each stands in few rows.
Other names, user names, postal addresses and bare telephone numbers need a column name that says so, and values that
look like it: a 'product_name' holds no person, and a 'street' of 'Pave' and 'Grvl' no address.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from pkgutil import iter_modules

import numpy as np

from raysynth.kinds.evidence import share_of, without_accents, words_of

_ENOUGH = 0.9  # share of values that must have the format
_MANY = 20  # different values that a vague column name ('doctor', 'login') needs
_WORD = r"[^\W\d_](?:[^\W\d_]|['’.\-])*"
_ROWS_OF_A_CATEGORY = 50  # of each name on average: more than a person has who is one of the rows' subjects
_USUAL = 0.5  # share of values that must be full names of the lists, where the column's name says nothing
_USUAL_ALONE = 0.75  # share of values that must be given names, or family names, alone
_ROWS_OF_A_NAME = 5  # on average: of more rows each they are a category ('Washington', 'Brown')
_USUAL_ENDS = 0.5  # share of persons' names, of any country that Faker knows, that begin or end with one of its lists
_LISTS = ("en_US", "de_DE", "fr_FR", "es_ES", "it_IT")  # of Faker
_TITLE = re.compile(r"(?:(?:dr|mr|mrs|ms|miss|prof|sir|mme|herr|frau)\b\.?)", re.IGNORECASE)
_FULL_NAME = re.compile(rf"{_WORD}(?:,? {_WORD}){{1,6}}(?: \(.*\))?")
_SHORT_NAME = re.compile(rf"{_WORD}(?:,? {_WORD}){{0,3}}")
_TELEPHONE = re.compile(
    r"\+\d[\d\s().\-]{6,20}\d(?: ?(?:x|ext\.?) ?\d+)?"
    r"|(?:\+?\d{1,3}[ .\-])?(?:\(\d{3}\) ?|\d{3}[.\-])\d{3}[.\-]\d{4}(?: ?(?:x|ext\.?) ?\d+)?"
)
_FORMS_OF_COUNTRIES = 4  # different places of digits and separators
_DIALLED = re.compile(r"\+\d{1,3}[ .\-(]|\+\d{8}|\(\+?\d{1,5}\) ?\d|00\d{2,3}[ .\-]")
_DIALLED_SHARE = 0.2  # of the values
_LOOSE_TELEPHONE = re.compile(r"\+?[\d(][\d\s().\-/]{5,22}\d(?: ?(?:x|ext\.?) ?\d+)?(?:\.0)?")

_PEOPLE = frozenset(
    {"patient", "customer", "client", "employee", "person", "student", "member", "owner", "holder", "applicant"}
    | {"author", "doctor", "physician", "nurse", "teacher", "manager", "guest", "passenger", "subscriber"}
    | {"player", "pupil", "worker", "driver", "resident", "citizen", "voter", "victim", "suspect", "defendant"}
    | {"participant", "respondent", "donor", "tenant", "borrower", "visitor", "pensioner", "caller"}
)
_ROLES_ELSEWHERE = """
of des der vom von du de del della dello di do da van l patienten patientin kunde kunden kundin mitarbeiter mitarbeiters
mitarbeiterin versicherten mieter mieters schuler schulers person personen employe salarie assure eleve titulaire
paciente cliente empleado titular alumno asegurado paziente dipendente assicurato klant werknemer medewerker leerling
"""
_ROLES = _PEOPLE | frozenset(
    {"emp", "cust", "contact", "beneficiary", "spouse", "parent", "mother", "father", "child", "relative", "kin"}
    | {"emergency", "primary", "secondary", "home", "work", "office", "business", "private", "personal", "billing"}
    | {"shipping", "mailing", "postal", "permanent", "current", "main", "account", "no", "nr", "num", "number", "line"}
    | frozenset(_ROLES_ELSEWHERE.split())
)
# Of places and organisations: a column `name` of airports or shops holds no persons.
_PLACES = """
airport airfield airpark heliport intl international municipal regional county station terminal hospital clinic
school university college institute academy hotel inn hostel restaurant cafe bar pizzeria grill bakery church
cathedral temple mosque bank museum theatre theater cinema stadium arena library mall market shop store center
centre street road avenue boulevard highway bridge island lake river mount mountain valley beach bay national state
city town village district inc ltd llc corp corporation company co group holdings plc gmbh ag sa srl bv bahnhof
flughafen schule strasse platz krankenhaus aeroport aeroporto aeropuerto gare ecole escuela
"""
_NOT_OF_PERSONS = frozenset(_PLACES.split())
_SHARE_OF_PLACES = 0.3  # of the values, with such a word
_PUBLIC_LIFE = re.compile(
    r"\b(?:director|actor|actress|cast|starring|artist|singer|musician|composer|conductor|lyricist|songwriter|novelist"
    r"|screenwriter|writer|poet|painter|sculptor|athlete|coach|pitcher|batter|quarterback|golfer|boxer|jockey|senator"
    r"|congressman|governor|president|minister|mayor|politician|incumbent|monarch|king|queen|laureate|champion"
    r"|celebrity|regisseur|realisateur|compositeur)s?\b"
)
_PHRASES = {
    "first_name": {"first name", "firstname", "fname", "given name", "givenname", "forename", "middle name"}
    | {"primeiro nome"},
    "last_name": {"last name", "lastname", "lname", "surname", "sur name", "family name", "maiden name"},
    "user_name": {"user name", "username", "login", "login name", "nickname", "nick name", "screen name"},
    "name": {"name", "full name", "fullname", "legal name", "complete name", "user full name"},
    "phone_number": {"phone", "telephone", "tel", "mobile", "fax", "cellphone", "cell phone", "mobile phone"},
    "address": {"address", "addr", "street", "street address", "full address", "home addr"},
    "credit_card_number": {"card", "credit card", "creditcard", "cc", "pan"},
}

_ELSEWHERE = {  # in other languages of Europe, without accents
    "first_name": "vorname prenom nombre nome voornaam imie fornamn fornavn etunimi jmeno",
    "last_name": "nachname familienname apellido apellidos cognome achternaam familienaam sobrenome apelido apelidos"
    " geburtsname madchenname nazwisko efternamn efternavn etternavn sukunimi prijmeni",
    "name": "naam namn navn nimi",
    "name of": "nom nome nombre",  # of a person where a word says so; alone, of anything
    "phone_number": "telefon telefonnummer telefonnr handy telephone telefono telefoon telefoonnummer mobiel cellulare"
    " telefone telemovel celular mobilnummer puhelin puhelinnumero tlf",
    "address": "adresse anschrift strasse direccion indirizzo adres adress gatuadress endereco morada osoite adresa",
}


def named_for_public_life(column_name: str) -> bool:
    """Whether a column's name says that its persons are of public life: 'director', 'lead_actor'."""
    return _PUBLIC_LIFE.search(words_of(column_name)) is not None


def are_of_things(column_name: str, sample: Sequence[str], counts: np.ndarray, rare: int) -> bool:
    """Whether a column called just 'name' (in some languages) holds names that recur and do not look like persons'.

    Args:
        column_name, sample, counts, rare: as of `are_public`.
    """
    is_bare = without_accents(words_of(column_name)) in ("name", *_ELSEWHERE["name"].split())
    if not is_bare or not sample or counts.mean() <= _ROWS_OF_A_NAME:
        return False
    return _recur(counts, rare) and share_of(_has_usual_end, sample) < _USUAL_ENDS


def are_public(sample: Sequence[str], counts: np.ndarray, rare: int) -> bool:
    """Whether a column of public life holds usual full names that recur as categories do.

    Args:
        sample: some distinct values.
        counts: rows of each value (of an even sample of them).
        rare: rows that a value needs to be learned as a category; most rows must have such a value.
    """
    return _recur(counts, rare) and recognise_personal("", sample) == "name"


def _recur(counts: np.ndarray, rare: int) -> bool:
    return bool(counts[counts >= rare].sum() >= counts.sum() / 2)


def recognise_personal(column_name: str, sample: Sequence[str], rows_per_value: float = 1.0) -> str | None:
    """The Faker provider for the personal data that a column holds, or None where none is recognised.

    Args:
        column_name: in any spelling: 'customerEMail', 'Patient_Name'.
        sample: some distinct values as text (numbers too: a telephone number may come as 5551234567 or 5551234567.0).
        rows_per_value: rows that a value has on average.
    """
    values = [v for v in (" ".join(str(s).split()) for s in sample if s is not None) if v]
    if not values:
        return None
    for provider, test in _FORMATS.items():
        if share_of(test, values) >= _ENOUGH:
            return provider
    if len(set(values)) >= _MANY and share_of(_is_card, values) >= _ENOUGH:
        return "credit_card_number"
    if share_of(_TELEPHONE.fullmatch, values) >= 0.5 and share_of(_is_loose_telephone, values) >= _ENOUGH:
        return "phone_number"
    if _are_telephones(values):
        return "phone_number"
    enough = len(set(values)) >= _MANY and rows_per_value <= _ROWS_OF_A_CATEGORY
    if enough and share_of(_is_usual_name, values) >= _USUAL:
        return "name"
    if len(set(values)) >= _MANY and rows_per_value <= _ROWS_OF_A_NAME:
        for provider, names in zip(("first_name", "last_name"), _usual_names(), strict=True):
            if share_of(lambda v: v.istitle() and v.lower() in names, values) >= _USUAL_ALONE:  # noqa: B023
                return provider
    words = words_of(column_name).split()
    phrase = " ".join(w for w in words if without_accents(w) not in _ROLES and not w.isdigit())
    for provider, fits in _BY_NAME.items():
        known = _PHRASES[provider].union(_ELSEWHERE.get(provider, "").split())
        known |= set(_ELSEWHERE["name of"].split()) if provider == "name" and set(words) & _ROLES else set()
        named = {phrase, " ".join(words), without_accents(phrase)}
        if not named.isdisjoint(known) and fits(phrase, values):
            return _address_provider(values) if provider == "address" else provider
    if not phrase and set(words) & _PEOPLE and _holds_people(values):
        return "name"
    return None


# --- formats that tell by themselves


def _is_email(value: str) -> bool:
    return re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s.]{2,}", value) is not None


def _is_iban(value: str) -> bool:
    """ISO 13616: check digits make the rearranged number 1 modulo 97."""
    compact = value.replace(" ", "").upper()
    if not re.fullmatch(r"[A-Z]{2}\d{2}[A-Z\d]{11,30}", compact):
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def _is_ipv4(value: str) -> bool:
    parts = value.split(".")
    return len(parts) == 4 and all(re.fullmatch(r"\d{1,3}", p) and int(p) < 256 for p in parts)


def _is_ipv6(value: str) -> bool:
    return value.count(":") >= 2 and re.fullmatch(r"(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}", value) is not None


def _is_mac(value: str) -> bool:
    return re.fullmatch(r"(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}", value) is not None


def _is_ssn(value: str) -> bool:
    return re.fullmatch(r"(?!000)\d{3}-(?!00)\d{2}-(?!0000)\d{4}", value) is not None


def _is_card(value: str) -> bool:
    """ISO/IEC 7812: 12 to 19 digits whose last is Luhn's check digit."""
    digits = re.sub(r"[ -]", "", value)
    if not re.fullmatch(r"[1-6]\d{11,18}", digits):
        return False
    doubled = [int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


_FORMATS: dict[str, Callable[[str], bool]] = {
    "email": _is_email,
    "iban": _is_iban,
    "ipv4": _is_ipv4,
    "mac_address": _is_mac,
    "ipv6": lambda v: _is_ipv6(v) and re.search(r"[0-9a-fA-F]{3,4}|::", v) is not None,  # not a time of day
    "ssn": _is_ssn,
}


def _are_telephones(values: Sequence[str]) -> bool:
    """Numbers of several countries: many forms, of which some have a country's code or an area's in brackets."""
    if len(set(values)) < _MANY or share_of(_is_loose_telephone, values) < _ENOUGH:
        return False
    forms = {re.sub(r"\d", "9", v) for v in values}
    return len(forms) >= _FORMS_OF_COUNTRIES and share_of(_DIALLED.match, values) >= _DIALLED_SHARE


# --- formats that need a column name


def _holds_names(phrase: str, values: Sequence[str]) -> bool:
    """Most values look like full names; a few may be written small, as people type them."""
    formed, capital = share_of(_has_name_form, values), share_of(_is_full_name, values)
    return formed >= 0.8 and capital >= 0.5 and share_of(_names_a_place, values) < _SHARE_OF_PLACES


def _names_a_place(value: str) -> bool:
    return not _NOT_OF_PERSONS.isdisjoint(w.strip(".'’-") for w in value.lower().split())


def _holds_short_names(phrase: str, values: Sequence[str]) -> bool:
    return share_of(lambda v: _SHORT_NAME.fullmatch(v) is not None, values) >= _ENOUGH


def _holds_user_names(phrase: str, values: Sequence[str]) -> bool:
    enough = len(set(values)) >= _MANY or phrase in ("username", "user name")
    return enough and share_of(lambda v: re.fullmatch(r"\S*[^\W\d_]\S*", v) is not None, values) >= _ENOUGH


def _holds_telephones(phrase: str, values: Sequence[str]) -> bool:
    return share_of(_is_loose_telephone, values) >= _ENOUGH


def _holds_addresses(phrase: str, values: Sequence[str]) -> bool:
    signs = (r"\d", r"[^\W\d_]{2}", r"\s")
    return share_of(lambda v: all(re.search(sign, v) for sign in signs), values) >= 0.7


def _holds_cards(phrase: str, values: Sequence[str]) -> bool:
    return share_of(_is_card, values) >= _ENOUGH


_BY_NAME: dict[str, Callable[[str, Sequence[str]], bool]] = {
    "name": _holds_names,
    "first_name": _holds_short_names,
    "last_name": _holds_short_names,
    "user_name": _holds_user_names,
    "phone_number": _holds_telephones,
    "address": _holds_addresses,
    "credit_card_number": _holds_cards,
}


@lru_cache(maxsize=1)
def _usual_names() -> tuple[frozenset[str], frozenset[str]]:
    """(given names, family names) of some countries, in lower case."""
    people = [import_module(f"faker.providers.person.{country}").Provider for country in _LISTS]
    given, family = ({n.lower() for p in people for n in getattr(p, kind)} for kind in ("first_names", "last_names"))
    return frozenset(given), frozenset(family)


@lru_cache(maxsize=1)
def _names_of_all_countries() -> frozenset[str]:
    """Given and family names that Faker has of any country, in lower case."""
    people = import_module("faker.providers.person")
    countries = [
        import_module(f"{people.__name__}.{m.name}").Provider for m in iter_modules(people.__path__) if m.ispkg
    ]
    lists = (v for p in countries for n, v in vars(p).items() if re.match("(?:first|last)_name", n))
    return frozenset(str(n).lower() for names in lists if isinstance(names, tuple | list | dict) for n in names)


def _has_usual_end(value: str) -> bool:
    words = [w for w in re.findall(_WORD, re.sub(_TITLE, "", value).lower()) if len(w.strip(".")) > 1]
    return bool(words) and not _names_of_all_countries().isdisjoint((words[0], words[-1]))


def _is_usual_name(value: str) -> bool:
    if not _is_full_name(value):
        return False
    words = [w for w in re.sub(_TITLE, "", value).replace(",", " ").lower().split() if len(w.strip(".")) > 1]
    given, family = _usual_names()
    return len(words) > 1 and any(a in given and b in family for a, b in ((words[0], words[-1]), (words[-1], words[0])))


def _holds_people(values: Sequence[str]) -> bool:
    """For a column called just 'doctor': persons' titles, or many different full names."""
    if share_of(lambda v: _TITLE.match(v) is not None and len(v.split()) > 1, values) >= 0.5:
        return True
    return len(set(values)) >= _MANY and _holds_names("", values)


def _has_name_form(value: str) -> bool:
    return _FULL_NAME.fullmatch(value) is not None and len(value) <= 90


def _is_full_name(value: str) -> bool:
    if not _has_name_form(value):
        return False
    return sum(w[0].isupper() or not (w[0].islower() or w[0].isupper()) for w in re.findall(_WORD, value)) >= 2


def _is_loose_telephone(value: str) -> bool:
    digits = re.sub(r"\D", "", re.split(r"x|\.0$", value)[0])
    return 7 <= len(digits) <= 15 and _LOOSE_TELEPHONE.fullmatch(value) is not None


def _address_provider(values: Sequence[str]) -> str:
    """'address' where most values go on after the street, else 'street_address'."""
    return "address" if share_of(lambda v: re.search(r"[,\n]", v) is not None, values) > 0.5 else "street_address"
