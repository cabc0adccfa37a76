"""Names of months in text of dates: full and short, in the languages that `date_text.py` reads and writes."""

from __future__ import annotations

_FULL = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
    "sv": "januari februari mars april maj juni juli augusti september oktober november december",
    "da": "januar februar marts april maj juni juli august september oktober november december",
    "pl": "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia",
}
_SHORT = {  # where these are not the first three letters; with a point where the language's code has one
    "fr": "janv févr mars avr mai juin juil août sept oct nov déc",
    "fr.": "janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.",
    "nl": "jan feb mrt apr mei jun jul aug sep okt nov dec",
    "de.": "Jan. Feb. März Apr. Mai Juni Juli Aug. Sep. Okt. Nov. Dez.",
    "en.": "Jan. Feb. Mar. Apr. May June July Aug. Sept. Oct. Nov. Dec.",
    "ap.": "Jan. Feb. March April May June July Aug. Sept. Oct. Nov. Dec.",
    "ap": "Jan Feb Mar Apr May June July Aug Sept Oct Nov Dec",
}
FULL = tuple(_FULL)
SHORT = (*_FULL, *(k for k in _SHORT if k not in _FULL))


def month_names(language: str, *, short: bool) -> tuple[str, ...]:
    """The twelve names, short ones in a language of `SHORT`, full ones in one of `FULL`."""
    if short and language in _SHORT:
        return tuple(_SHORT[language].split())
    full = _FULL[language].split()
    return tuple(name[:3] for name in full) if short else tuple(full)
