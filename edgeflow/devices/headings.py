"""What people call the columns of a register list, by language, and what we call them."""

from __future__ import annotations

from collections.abc import Mapping

HEADINGS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "en": {
        "name": ("tag", "tag name", "parameter", "variable"),
        "address": ("register address", "modbus address"),
        "register": ("holding", "holding register"),
        "input": ("input register",),
        "discrete": ("discrete input",),
        "type": ("data type", "datatype", "format"),
        "unit": ("units",),
        "scale": ("factor", "multiplier"),
        "about": ("description", "comment", "remark"),
        "writable": ("access", "rw", "r/w"),
        "every": ("interval",),
    },
    "de": {
        "name": ("bezeichnung", "messwert"),
        "address": ("adresse", "registeradresse"),
        "register": ("halteregister",),
        "input": ("eingangsregister",),
        "type": ("typ", "datentyp"),
        "unit": ("einheit",),
        "scale": ("faktor", "skalierung"),
        "about": ("beschreibung", "bemerkung", "kommentar"),
        "writable": ("zugriff",),
    },
}
"""Another language is another entry: our word, and the headings that mean it, in lower case."""

OURS: Mapping[str, str] = {
    heading: word for language in HEADINGS.values() for word, headings in language.items() for heading in headings
}
