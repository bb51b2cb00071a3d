"""What is said to a person, as data.

A template with parameters, written as a sentence only at the edge.

Errors, warnings and results carry a `Message`. The command line, the log and programs get it in
English (`str`); a page renders it in its reader's language, with paths shortened to names and the
texts of libraries left out. JSON and SQLite keep template, parameters and code (`Message.to_json`).
Nothing is matched backwards: what decides on a message looks at its `code`.

The worker imports this module, so it stands on the standard library alone.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Protocol, cast

from rembg_tuner.base.units import format_bytes, format_exact_bytes, format_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_WIDE = ("\u3000", "\u9fff"), ("\uff00", "\uffef")  # written without spaces
_MOST_NESTED = 8  # messages in messages; deeper ones are a fault, and must not end the program
_LEFT_OUT = "…"
_COLONS = (": ", "\uff1a")
_AROUND = (
    (_COLONS[0], ""),
    (_COLONS[1], ""),
    ("; ", ""),
    ("\uff1b", ""),
    (" (", ")"),
    ("\uff08", "\uff09"),
)


@dataclass(frozen=True, slots=True)
class Quoted:
    """A text that is not ours, such as a library's or the last line of a log.

    Pages leave it out, and an empty one.

    In a template it stands after ": " or "; ", or in parentheses, which go with it.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Term:
    """A name that people type and readers of another language are explained.

    A knob, a choice, a preset.

    Attributes:
        name: as it is typed; what English shows.
        kind: knob, choice or preset; the context of its translation.
    """

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class JoinedParts:
    """Several parts joined.

    Attributes:
        parts: strings, terms or messages.
        separator: of `SEPARATORS`; translated with the context "joint".
    """

    parts: tuple[Parameter, ...]
    separator: str = ", "


@dataclass(frozen=True, slots=True)
class ShellOrPage:
    """What differs between a shell and a page, such as how a model is downloaded.

    Attributes:
        shell: for the command line, the log and programs.
        page: for a page's readers.
    """

    shell: Message
    page: Message


SEPARATORS = ("; ", ", ", " and ", " · ")


class Catalogue(Protocol):
    """The translations of one language."""

    def find(self, text: str, context: str = "") -> str:
        """Return the translation of a template; the template itself where there is none."""

    def find_plural(self, one: str, many: str, count: float) -> str:
        """Return the form for a count."""


class English:
    """The language of the templates."""

    def find(self, text: str, context: str = "") -> str:  # noqa: ARG002  # as the protocol has it
        """Return the template."""
        return text

    def find_plural(self, one: str, many: str, count: float) -> str:
        """Return the template for one, or for several."""
        return one if count == 1 else many


ENGLISH = English()


class Message:
    """A template with parameters. Equal ones are equal values; they can be hashed.

    Attributes:
        template: a literal in the source, with `str.format` fields by name. Besides Python's, the
            format specifications `bytes`, `exact_bytes` (both take bytes) and `seconds` are known.
        many: the template for several, where `n` decides; None: there is one only.
        code: a short name that programs may rely on; None: nothing relies on it. See `codes`.
        params: names and values in the order given.
    """

    __slots__ = ("code", "many", "params", "template")
    template: str
    many: str | None
    code: str | None
    params: tuple[tuple[str, Parameter], ...]

    def __init__(self, template: str, /, *, code: str | None = None, **params: Parameter) -> None:
        """Keep what is said."""
        self._set(template, None, code, tuple(params.items()))

    def _set(
        self,
        template: str,
        many: str | None,
        code: str | None,
        params: tuple[tuple[str, Parameter], ...],
    ) -> None:
        """Fill the fields, which cannot be assigned."""
        for name, value in (
            ("template", template),
            ("many", many),
            ("code", code),
            ("params", params),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def make(
        cls,
        template: str,
        *,
        many: str | None = None,
        code: str | None = None,
        params: tuple[tuple[str, Parameter], ...] = (),
    ) -> Message:
        """Make a message of its fields; for `plural`, for reading, and for what changes one."""
        message = cls.__new__(cls)
        message._set(template, many, code, params)
        return message

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: a message is a value."""
        raise AttributeError(f"a Message cannot be changed, not even its {name}")

    def __delattr__(self, name: str) -> None:
        """Refuse: a message is a value."""
        raise AttributeError(f"a Message cannot be changed, not even its {name}")

    def __reduce__(self) -> tuple[Callable[..., Message], tuple[object, ...]]:
        """Pickle the fields."""
        return _made, (self.template, self.many, self.code, self.params)

    def _fields(self) -> tuple[object, ...]:
        return self.template, self.many, self.code, self.params

    def __eq__(self, other: object) -> bool:
        """Compare all fields."""
        return isinstance(other, Message) and self._fields() == other._fields()

    def __hash__(self) -> int:
        """Hash all fields."""
        return hash(self._fields())

    def __repr__(self) -> str:
        """Show the fields."""
        return f"Message({self.template!r}, code={self.code!r}, params={dict(self.params)!r})"

    def __str__(self) -> str:
        """Write it in English, for the command line, the log and programs."""
        return render(self)

    def __getitem__(self, name: str) -> Parameter:
        """Return a parameter.

        Raises:
            KeyError: there is none of that name.
        """
        return dict(self.params)[name]

    def map(self, change: Callable[[Parameter], Parameter]) -> Message:
        """Return the message with every parameter changed, those of nested messages too.

        Args:
            change: called with each parameter that holds no others.
        """

        def changed(value: Parameter) -> Parameter:
            if isinstance(value, Message):
                return value.map(change)
            if isinstance(value, JoinedParts):
                return JoinedParts(tuple(changed(part) for part in value.parts), value.separator)
            if isinstance(value, ShellOrPage):
                return ShellOrPage(value.shell.map(change), value.page.map(change))
            return change(value)

        params = tuple((name, changed(value)) for name, value in self.params)
        return Message.make(self.template, many=self.many, code=self.code, params=params)

    def public(self) -> Message:
        """Return the message without what a page's reader must not see.

        Paths are shortened to names, what a library said is left out, and what differs is said as
        for a page.
        """

        def changed(value: Parameter) -> Parameter:
            match value:
                case Message():
                    return value.public()
                case ShellOrPage():
                    return value.page.public()
                case JoinedParts():
                    left = (part for part in value.parts if not _is_quoted(part))
                    return JoinedParts(tuple(changed(part) for part in left), value.separator)
                case Quoted():
                    return Quoted("")
                case PurePath():
                    return Path(value.name) if value.name else value
                case _:
                    return value

        params = tuple((name, changed(value)) for name, value in self.params)
        return Message.make(self.template, many=self.many, code=self.code, params=params)

    def with_paths(self, names: Mapping[PurePath, Parameter]) -> Message:
        """Return the message with other names for some paths.

        Of temporary files, of what stands for them.
        """

        def renamed(value: Parameter) -> Parameter:
            return names.get(value, value) if isinstance(value, PurePath) else value

        return self.map(renamed)

    def parts(self) -> Iterator[Message]:
        """Yield the message itself and all messages within it, for a page and for a shell."""
        yield self
        for _, value in self.params:
            yield from _messages_of(value)

    def mentions(self, path: PurePath) -> bool:
        """Return whether the message, or one within it, has a path as a parameter."""
        return any(value == path for part in self.parts() for _, value in part.params)

    def has_code(self, code: str) -> bool:
        """Return whether the message, or one within it, has a code."""
        return any(part.code == code for part in self.parts())

    def with_code(self, code: str | None) -> Message:
        """Return the message with a code; None: without one."""
        return Message.make(self.template, many=self.many, code=code, params=self.params)

    def to_json(self) -> dict[str, object]:
        """Return the fields by name, ready for JSON; `from_json` reads them."""
        content: dict[str, object] = {"template": self.template}
        if self.many is not None:
            content["many"] = self.many
        if self.code is not None:
            content["code"] = self.code
        if self.params:
            content["params"] = {name: _encoded(value) for name, value in self.params}
        return content

    @classmethod
    def from_json(cls, content: object) -> Message:
        """Read what `to_json` wrote, or a sentence that an older version kept.

        Raises:
            ValueError: it is neither.
        """
        if isinstance(content, str):
            return quoted(content)  # it may hold paths
        fields = content if isinstance(content, dict) else {}
        template, many, code = (fields.get(name) for name in ("template", "many", "code"))
        params = fields.get("params", {})
        are_texts = all(one is None or isinstance(one, str) for one in (many, code))
        if not (isinstance(template, str) and are_texts and isinstance(params, dict)):
            raise ValueError(f"a message cannot be {content!r:.80}")
        read = tuple((str(name), _decoded(value)) for name, value in params.items())
        return cls.make(template, many=many, code=code, params=read)


Parameter = (
    str | int | float | bool | PurePath | Quoted | Term | JoinedParts | ShellOrPage | Message | None
)


def _messages_of(value: Parameter) -> Iterator[Message]:
    """Yield the messages in a parameter."""
    match value:
        case Message():
            yield from value.parts()
        case JoinedParts():
            for part in value.parts:
                yield from _messages_of(part)
        case ShellOrPage():
            yield from value.shell.parts()
            yield from value.page.parts()


def quoted(text: str) -> Message:
    """Make a message of a text that is not ours; see `Quoted`."""
    return Message("{text}", text=Quoted(text))


def _is_quoted(value: Parameter) -> bool:
    """Return whether a parameter is a text that is not ours, alone in a message or not."""
    if isinstance(value, Message) and value.template == "{text}":
        return _is_quoted(dict(value.params).get("text"))
    return isinstance(value, Quoted)


def _is_empty(quoted: Parameter) -> bool:
    """Return whether nothing is left of a text that is not ours."""
    inner = quoted["text"] if isinstance(quoted, Message) else quoted
    return isinstance(inner, Quoted) and not inner.text


def _made(
    template: str, many: str | None, code: str | None, params: tuple[tuple[str, Parameter], ...]
) -> Message:
    """Make a message of its fields; what a pickle calls."""
    return Message.make(template, many=many, code=code, params=params)


def plural(
    one: str, many: str, /, *, n: float, code: str | None = None, **params: Parameter
) -> Message:
    """Make a message whose template depends on a count.

    Args:
        one: the template for 1; may use {n}.
        many: for any other count; uses {n}.
        n: the count.
        code: see `Message`.
        params: besides n.

    >>> str(plural("{n} trial", "{n:,} trials", n=1200))
    '1,200 trials'
    """
    return Message.make(one, many=many, code=code, params=(("n", n), *params.items()))


def join_parts(parts: Iterable[Parameter], separator: str = ", ") -> JoinedParts:
    """Join parts; see `JoinedParts`."""
    return JoinedParts(tuple(parts), separator)


def join_sentences(messages: Iterable[Message]) -> Message:
    """Make one message of several sentences; one alone stays itself.

    Of several the code is theirs if they share it, else None.
    """
    parts = tuple(messages)
    if len(parts) == 1:
        return parts[0]
    codes = {one.code for one in parts}
    return Message(
        "{sentences}",
        code=codes.pop() if len(codes) == 1 else None,
        sentences=JoinedParts(parts, "; "),
    )


def render(message: Message, catalogue: Catalogue = ENGLISH, *, is_public: bool = False) -> str:
    """Write a message as a sentence; never raises.

    Args:
        message: what is said.
        catalogue: of the reader's language.
        is_public: whether the reader is not the machine's user: a path is shortened to its name,
            what a library said is left out, and what differs is said as for a page.
    """
    return _Writer(catalogue, is_public=is_public).write(message, 0)


class _Writer:
    """Renders for one reader."""

    def __init__(self, catalogue: Catalogue, *, is_public: bool) -> None:
        self._catalogue = catalogue
        self._is_public = is_public

    def write(self, message: Message, depth: int) -> str:
        """Write one message, `depth` messages deep."""
        if depth > _MOST_NESTED:
            return _LEFT_OUT
        params = dict(message.params)
        written: list[str] = []
        skipped = ""  # what follows a text that was left out and stood in parentheses
        may_trim = False  # whether a value that is written without spaces was just written
        for literal, name, spec, conversion in _parsed(self._template(message, params)):
            text = literal.removeprefix(skipped)
            is_before_number = text == " " and isinstance(params.get(name or ""), int | float)
            if (
                may_trim
                and text.startswith(" ")
                and not is_before_number
                and _is_wide(text[1:2] or _WIDE[0][0])
            ):
                text = text[1:]
            skipped, may_trim = "", False
            if name is None:
                written.append(text)
                continue
            if name not in params:
                written += [text, "{" + name + "}"]
                continue
            value = params[name]
            if _is_quoted(value) and (self._is_public or _is_empty(value)):
                before, skipped = _without_joint(text)
                written.append(before)
                continue
            filled = self._filled(value, conversion, spec, depth)
            is_ours = isinstance(value, Message | Term | JoinedParts | ShellOrPage)
            if is_ours and text.endswith(" ") and _is_wide(filled[:1]) and _is_wide(text[-2:-1]):
                text = text[:-1]
            may_trim = is_ours and _is_wide(filled[-1:])
            written += [text, filled]
        return "".join(written)

    def _template(self, message: Message, params: dict[str, Parameter]) -> str:
        """Choose the template in the reader's language."""
        count = params.get("n")
        if message.many is not None and isinstance(count, int | float):
            return self._catalogue.find_plural(message.template, message.many, count)
        return self._catalogue.find(message.template)

    def _filled(self, value: Parameter, conversion: str | None, spec: str, depth: int) -> str:
        """Write a parameter."""
        own = _UNITS.get(spec)
        if own is not None:
            try:
                is_number = isinstance(value, int | float) and not isinstance(value, bool)
                return own(cast("int", value)) if is_number else self._text(value, depth)
            except (ValueError, OverflowError):  # a number too large to be a size or a time
                return _plain(value)
        plain = value if isinstance(value, str | int | float) else self._text(value, depth)
        try:
            return format(_CONVERSIONS[conversion](plain) if conversion else plain, spec)
        except (ValueError, TypeError, OverflowError, MemoryError):
            return _plain(plain)

    def _text(self, value: Parameter, depth: int) -> str:  # noqa: PLR0911  # one for each kind
        """Write a parameter without its format."""
        if depth > _MOST_NESTED:
            return _LEFT_OUT
        match value:
            case Message():
                return self.write(value, depth + 1)
            case JoinedParts():
                return self._joined(value, depth)
            case ShellOrPage():
                return self.write(value.page if self._is_public else value.shell, depth + 1)
            case Term():
                return self._catalogue.find(value.name, value.kind)
            case Quoted():
                return "" if self._is_public else value.text
            case PurePath():
                return value.name if self._is_public and value.name else str(value)
            case _:
                return _plain(value)

    def _joined(self, several: JoinedParts, depth: int) -> str:
        """Join parts; plain names, which are the same in every language, by the separator of the template."""
        are_names = several.separator == ", " and all(
            isinstance(part, str) for part in several.parts
        )
        separator = (
            several.separator if are_names else self._catalogue.find(several.separator, "joint")
        )
        left = [part for part in several.parts if not (self._is_public and _is_quoted(part))]
        return separator.join(self._text(part, depth + 1) for part in left)


def _plain(value: object) -> str:
    """Write a value; a whole number with more digits than Python writes, by its size."""
    try:
        return str(value)
    except ValueError:
        return f"a number of {cast('int', value).bit_length()} bits"


_CONVERSIONS: dict[str, Callable[[object], str]] = {"r": repr, "a": ascii, "s": str}
_UNITS: dict[str, Callable[[int], str]] = {
    "bytes": format_bytes,
    "exact_bytes": format_exact_bytes,
    "seconds": format_seconds,
}


@lru_cache(maxsize=4096)
def _parsed(template: str) -> tuple[tuple[str, str | None, str, str | None], ...]:
    """Split a template into literals and fields; one that does not parse is one literal."""
    try:
        return tuple(
            (literal, name, spec or "", conversion if conversion in ("r", "a", "s") else None)
            for literal, name, spec, conversion in string.Formatter().parse(template)
        )
    except ValueError:
        return ((template, None, "", None),)


def _is_wide(letter: str) -> bool:
    """Return whether a letter is written without spaces beside it; none is not."""
    return any(low <= letter <= high for low, high in _WIDE) if letter else False


def _without_joint(text: str) -> tuple[str, str]:
    """Return what stays before a text that is left out, and what goes after it."""
    for before, after in _AROUND:
        if text.endswith(before):
            kept = text.removesuffix(before)
            # A clause of its own, such as "; its last words: ", says nothing without the text.
            clause = max(kept.rfind("; "), kept.rfind("\uff1b")) if before in _COLONS else -1
            return kept if clause < 0 else kept[:clause], after
    return text + _LEFT_OUT, ""


def _encoded(value: Parameter) -> object:  # noqa: PLR0911  # one for each kind
    """Write a parameter as JSON takes it."""
    match value:
        case Message():
            return {"message": value.to_json()}
        case JoinedParts():
            return {"list": [_encoded(part) for part in value.parts], "joint": value.separator}
        case ShellOrPage():
            return {"shell": value.shell.to_json(), "page": value.page.to_json()}
        case Term():
            return {"term": value.name, "kind": value.kind}
        case Quoted():
            return {"quoted": value.text}
        case PurePath():
            return {"path": str(value)}
        case _:
            return value


def _decoded(content: object) -> Parameter:  # noqa: PLR0911  # one for each kind
    """Read what `_encoded` wrote.

    Raises:
        ValueError: it is something else.
    """
    if content is None or isinstance(content, str | int | float):
        return content
    match content:
        case {"message": inner}:
            return Message.from_json(inner)
        case {"list": [*parts], "joint": str(separator)}:
            return JoinedParts(tuple(_decoded(part) for part in parts), separator)
        case {"shell": shell, "page": page}:
            return ShellOrPage(Message.from_json(shell), Message.from_json(page))
        case {"term": str(name), "kind": str(kind)}:
            return Term(name, kind)
        case {"quoted": str(text)}:
            return Quoted(text)
        case {"path": str(path)}:
            return Path(path)
    raise ValueError(f"a message's parameter cannot be {content!r:.80}")
