"""Templates become text: Jinja2 in its sandbox, since one of the templates may come from the visitor.

Whatever is wrong with a template (its syntax, a name that does not exist, more output than a document can be) is a
``TemplateFault``, which the job reports as TEMPLATE_ERROR with the template's name and line.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

from jinja2 import ChoiceLoader, DictLoader, FileSystemLoader, StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .cases import Case
from .planning import CUSTOM, Document

FOLDER: Final = Path(__file__).parent / "templates"
OUTPUT_LIMIT: Final = 4 * 1024 * 1024  # characters; a loop in a loop must not fill the memory
CUSTOM_LIMIT: Final = 64 * 1024  # characters of a visitor's template


class TemplateFault(Exception):
    """A template cannot be used. The message names the template, the line where known, and the fault."""

    milepost_code = "TEMPLATE_ERROR"


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, without powers: ``9**9**9`` is one operation that no alarm could interrupt."""

    intercepted_binops = frozenset({"**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Called for the operators above only."""
        raise SecurityError(f"the operator {operator} is not allowed")


class Templates:
    """Our own templates, and the visitor's under the name of ``custom.html``."""

    def __init__(self, custom: str | None = None) -> None:
        own = {} if custom is None else {f"{CUSTOM}.html": custom}
        self._environment = _Sandbox(
            loader=ChoiceLoader([DictLoader(own), FileSystemLoader(FOLDER)]),
            autoescape=True,  # "Smith & Sons <LLC>" is a name and no markup
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters["long_date"] = long_date

    def fill(self, document: Document, case: Case, documents: Sequence[Document]) -> str:
        """The document's text as simple HTML. Raises TemplateFault."""
        values: Mapping[str, Any] = {"case": case, "documents": documents, **document.values}
        parts: list[str] = []
        size = 0
        try:
            for part in self._environment.get_template(document.template).generate(values):
                size += len(part)
                if size > OUTPUT_LIMIT:
                    raise TemplateFault(f"{document.template}: the output is larger than {OUTPUT_LIMIT:,} characters")
                parts.append(part)
        except TemplateFault:
            raise
        except TimeoutError:
            raise  # the worker's own deadline, not a fault of the template's text
        except TemplateSyntaxError as error:
            name = error.name or document.template
            raise TemplateFault(f"{name}, line {error.lineno}: {error.message}") from error
        except (TemplateError, ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError,
                ValueError) as error:  # fmt: skip
            # Anything that a template's expressions can raise; a bug of ours would show the same way, with its line.
            raise TemplateFault(f"{document.template}{_line(error, document.template)}: {_said(error)}") from error
        return "".join(parts)


def long_date(day: str) -> str:
    """2026-11-20 → November 20, 2026."""
    parsed = date.fromisoformat(day)
    return f"{parsed:%B} {parsed.day}, {parsed.year}"


def _line(error: BaseException, template: str) -> str:
    """Jinja rewrites tracebacks so that they name the template's own lines."""
    ours = str(FOLDER / template)
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename in ("<template>", ours)]
    return f", line {lines[-1]}" if lines else ""


def _said(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
