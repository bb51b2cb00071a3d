"""Messages as data: a template with parameters, rendered as text only where it is shown.

Errors, warnings and results have a `Message`. The command line, the log and programs show it in
English (`str`); a page renders it in its reader's language, shortens paths to names, and omits the
texts of libraries. JSON and SQLite store template, parameters and code (`Message.to_json`). Code
that depends on a message compares its `code`, never its text.

The worker imports this module, so it uses only the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, ClassVar

from rembg_tuner.base.rendering import ENGLISH, Part, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from rembg_tuner.base.rendering import Catalogue


@dataclass(frozen=True, slots=True)
class Quoted(Part):
    """A text from outside this program, such as a library's error or the last line of a log.

    Pages omit it, and an empty one is omitted everywhere. In a template it follows ": " or "; ", or
    is in parentheses, which are omitted too.
    """

    is_ours: ClassVar[bool] = False
    text: str

    @property
    def quoted_text(self) -> str:
        """The text."""
        return self.text

    def text_by(self, writer: Writer, depth: int) -> str:  # noqa: ARG002  # as `Part` has it
        """Return the text, or nothing for a page's readers."""
        return "" if writer.is_public else self.text


@dataclass(frozen=True, slots=True)
class Term(Part):
    """A name that users type, with a translation that explains it.

    Attributes:
        name: as users type it; English shows it.
        kind: knob, choice or preset; the context of its translation.
    """

    name: str
    kind: str

    def text_by(self, writer: Writer, depth: int) -> str:  # noqa: ARG002  # as `Part` has it
        """Return the name with its translation."""
        return writer.catalogue.find(self.name, self.kind)


@dataclass(frozen=True, slots=True)
class JoinedParts(Part):
    """Several parts, joined by a separator.

    Attributes:
        parts: strings, terms or messages.
        separator: of `SEPARATORS`; translated with the context "joint".
    """

    parts: tuple[Parameter, ...]
    separator: str = ", "

    def text_by(self, writer: Writer, depth: int) -> str:
        """Join the parts; the separator of plain names is not translated, as the names are not."""
        separator = self.separator
        if separator != ", " or not all(isinstance(part, str) for part in self.parts):
            separator = writer.catalogue.find(separator, "joint")
        shown = (part for part in self.parts if not (writer.is_public and _is_quoted(part)))
        return separator.join(writer.text_of(part, depth + 1) for part in shown)


@dataclass(frozen=True, slots=True)
class ShellOrPage(Part):
    """Two texts for the shell and the page, such as how to download a model.

    Attributes:
        shell: for the command line, the log and programs.
        page: for a page's readers.
    """

    shell: Message
    page: Message

    def text_by(self, writer: Writer, depth: int) -> str:
        """Return the text for the reader."""
        return writer.text_of(self.page if writer.is_public else self.shell, depth + 1)


SEPARATORS = ("; ", ", ", " and ", " · ")


@dataclass(frozen=True, slots=True, init=False)
class Message(Part):
    """A template with parameters; an immutable, hashable value.

    Attributes:
        template: a literal in the source, with `str.format` fields by name. Besides Python's, the
            format specifications `bytes`, `exact_bytes` (both take bytes) and `seconds` are known.
        many: the template for any count `n` but 1; None: there is only one template.
        code: a short name that programs may rely on; None: none. See docs/codes.md.
        params: names and values in the order given.
    """

    template: str
    many: str | None
    code: str | None
    params: tuple[tuple[str, Parameter], ...]

    def __init__(self, template: str, /, *, code: str | None = None, **params: Parameter) -> None:
        """Set the fields."""
        self._set(template, None, code, tuple(params.items()))

    def _set(self, *fields: object) -> None:
        """Set the fields: template, many, code, params; they cannot be assigned."""
        for name, value in zip(("template", "many", "code", "params"), fields, strict=True):
            object.__setattr__(self, name, value)

    @classmethod
    def make(
        cls,
        template: str,
        many: str | None = None,
        code: str | None = None,
        params: tuple[tuple[str, Parameter], ...] = (),
    ) -> Message:
        """Create a message from its fields."""
        message = cls.__new__(cls)
        message._set(template, many, code, params)
        return message

    def __str__(self) -> str:
        """Return the text in English, for the command line, the log and programs."""
        return render(self)

    @property
    def quoted_text(self) -> str | None:
        """The text if the message is a quoted text alone."""
        inner = dict(self.params).get("text") if self.template == "{text}" else None
        return inner.quoted_text if isinstance(inner, Part) else None

    def text_by(self, writer: Writer, depth: int) -> str:
        """Return the text in the reader's language."""
        params = dict(self.params)
        count = params.get("n")
        if self.many is not None and isinstance(count, int | float):
            template = writer.catalogue.find_plural(self.template, self.many, count)
        else:
            template = writer.catalogue.find(self.template)
        return writer.fill(template, params, depth + 1)

    def __getitem__(self, name: str) -> Parameter:
        """Return a parameter.

        Raises:
            KeyError: the name is unknown.
        """
        return dict(self.params)[name]

    def map(self, change: Callable[[Parameter], Parameter]) -> Message:
        """Return the message with every parameter changed, those of nested messages too.

        Args:
            change: called with each parameter that has no parts.
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
        """Return the message as a page's readers may see it.

        Paths are shortened to names, quoted texts are emptied, and the page's texts are chosen.
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
        """Return the message with other parameters in place of some paths."""

        def renamed(value: Parameter) -> Parameter:
            return names.get(value, value) if isinstance(value, PurePath) else value

        return self.map(renamed)

    def parts(self) -> Iterator[Message]:
        """Yield the message and all nested messages, for a page and for a shell."""
        yield self
        for _, value in self.params:
            yield from _messages_of(value)

    def mentions(self, path: PurePath) -> bool:
        """Return whether the message or a nested one has a path as a parameter."""
        return any(value == path for part in self.parts() for _, value in part.params)

    def has_code(self, code: str) -> bool:
        """Return whether the message or a nested one has a code."""
        return any(part.code == code for part in self.parts())

    def with_code(self, code: str | None) -> Message:
        """Return the message with a code; None: without one."""
        return Message.make(self.template, many=self.many, code=code, params=self.params)

    def to_json(self) -> dict[str, object]:
        """Return the fields by name, for JSON; `from_json` reads them."""
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
        """Read what `to_json` returned, or a sentence that an older version stored.

        Raises:
            ValueError: the content is neither.
        """
        if isinstance(content, str):
            return quoted(content)  # it may contain paths
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
    """Create a message from a text from outside this program; see `Quoted`."""
    return Message("{text}", text=Quoted(text))


def _is_quoted(value: Parameter) -> bool:
    """Return whether a parameter is a quoted text, or a message of it alone."""
    return isinstance(value, Part) and value.quoted_text is not None


def plural(
    one: str, many: str, /, *, n: float, code: str | None = None, **params: Parameter
) -> Message:
    """Create a message whose template depends on a count.

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
    """Join several messages into one; a single message is returned unchanged.

    Its code is the one that all of them share, else None.
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
    """Return a message's text; never raises.

    Args:
        message: the message.
        catalogue: of the reader's language.
        is_public: whether the reader is not the machine's user: paths are shortened to names,
            quoted texts are omitted, and the page's texts are chosen.
    """
    return Writer(catalogue, is_public=is_public).text_of(message, 0)


def _encoded(value: Parameter) -> object:  # noqa: PLR0911  # one for each kind
    """Return a parameter for JSON."""
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
    """Read what `_encoded` returned.

    Raises:
        ValueError: the content is not a parameter.
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
