"""What a form sends: fields, and at most one file (``multipart/form-data``, RFC 7578, as browsers write it)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote

_BOUNDARY: Final = re.compile(r'multipart/form-data;.*\bboundary="?([^";]{1,70})"?', re.IGNORECASE)
_NAME: Final = re.compile(
    rb'^content-disposition:.*?\bname="([^"]*)"(?:.*?\bfilename="([^"]*)")?', re.IGNORECASE | re.MULTILINE
)
FIELDS: Final = 20


@dataclass(slots=True)
class Form:
    """``file`` is None where none was chosen; ``file_name`` is without a folder."""

    fields: dict[str, str] = field(default_factory=dict)
    file: bytes | None = None
    file_name: str = ""

    def get(self, name: str) -> str:
        """A field's value, empty where it was not sent."""
        return self.fields.get(name, "").strip()


def form_of(content_type: str, body: bytes) -> Form:
    """Reads a body of either of the two types in which a page's forms are sent. What is neither is an empty form."""
    boundary = _BOUNDARY.match(content_type)
    if boundary:
        return _parts(b"\r\n--" + boundary[1].encode("latin-1", "replace"), b"\r\n" + body)
    return Form(dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=FIELDS)))


def _parts(delimiter: bytes, body: bytes) -> Form:
    form = Form()
    for part in body.split(delimiter, FIELDS + 1)[1:]:
        head, _, content = part.partition(b"\r\n\r\n")
        named = _NAME.search(head)
        if named is None:  # what stands after the last one
            continue
        name, file_name = (None if text is None else text.decode("utf-8", "replace") for text in named.groups())
        if file_name is None:
            form.fields[name or ""] = content.decode("utf-8", "replace")
        elif file_name:
            form.file, form.file_name = content, unquote(re.split(r"[/\\]", file_name)[-1])
    return form
