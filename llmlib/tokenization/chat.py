"""How a conversation becomes one text: the ChatML layout in Python, and any layout in Jinja.

Models ship the layout as a Jinja template, which is a program. `ChatML` is the most common layout
as a dozen lines of Python, to read; `ChatTemplate` runs the program itself, in a sandbox.
"""

import datetime
import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import jinja2.ext
import jinja2.meta
import jinja2.nodes
import jinja2.parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmlib.tokenization.added import MARK

START, END = "<|im_start|>", "<|im_end|>"
# The template before and after the text of the default system message.
HEAD = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
)
TAIL = (
    "<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
Messages = Sequence[Mapping[str, Any]]


def check_messages(messages: Messages, calls: bool = False) -> None:
    """Raises ValueError for a message without a role or content.

    Args:
        messages: mappings with "role" and "content".
        calls: whether a message may have "tool_calls" for its content.
    """
    if isinstance(messages, (str, Mapping)) or not isinstance(messages, Sequence):
        raise TypeError(f"messages are {messages!r}, expected a list of them")
    for i, message in enumerate(messages):
        called = calls and isinstance(message, Mapping) and message.get("tool_calls")
        needed = ("role",) if called and message.get("content") is None else ("role", "content")
        whole = isinstance(message, Mapping) and all(
            isinstance(message.get(key), str) for key in needed
        )
        if not whole:
            raise ValueError(f"message {i} is {message!r}, expected role and content as text")


# --- the layout that most models use ----------------------------------------------------------


@dataclass(frozen=True)
class ChatML:
    """Each message between marks, its role in the first line; a default system message first.

    Args:
        default_system: the system message of a conversation that starts without one.
    """

    default_system: str

    @classmethod
    def from_template(cls, template: str) -> "ChatML":
        """Recognizes the layout by its Jinja template.

        Raises: ValueError for a template of another layout; it shows where the two part.
        """
        # An escape in some files, a line break in others.
        text = template.replace("\\n", "\n")
        if not text.startswith(HEAD):
            same = next(i for i in range(len(HEAD)) if not text.startswith(HEAD[: i + 1]))
            raise _departure(text[same:], HEAD[same:])
        if not text.endswith(TAIL) or len(text) < len(HEAD) + len(TAIL):
            same = next(i for i in range(len(TAIL)) if not text.endswith(TAIL[-i - 1 :]))
            end = len(text) - same
            raise _departure(text[max(len(HEAD), end - 40) : end + 20], TAIL[-same - 1 :])
        system = text[len(HEAD) : -len(TAIL)]
        if found := re.search(r"['\\]", system):
            raise ValueError(
                "chat template with an escape or an expression at "
                f"{system[max(found.start() - 10, 0) : found.end() + 20]!r}, expected plain text "
                "for the system message; ChatTemplate runs any template"
            )
        return cls(system)

    def segments(
        self, messages: Messages, add_generation_prompt: bool = True
    ) -> Iterator[tuple[str, bool]]:
        """The rendered text in parts; True marks a special token, which a message cannot forge.

        Args:
            messages: mappings with "role" and "content".
            add_generation_prompt: end with the opening of the assistant's answer.

        Raises: ValueError for a message without a role or content.
        """
        check_messages(messages)
        turns = [(message["role"], message["content"]) for message in messages]
        if turns and turns[0][0] != "system":
            turns.insert(0, ("system", self.default_system))
        for role, content in turns:
            yield START, True
            yield f"{role}\n{content}", False
            yield END, True
            yield "\n", False
        if add_generation_prompt:
            yield START, True
            yield "assistant\n", False

    def render(self, messages: Messages, add_generation_prompt: bool = True) -> str:
        """The conversation as the template writes it."""
        return "".join(text for text, _ in self.segments(messages, add_generation_prompt))


def _departure(found: str, expected: str) -> ValueError:
    here, there = found[:60], expected[:60]
    return ValueError(
        f"unknown chat template: it has {here!r} where {there!r} is expected in ChatML's"
    )


# --- any layout -------------------------------------------------------------------------------


class ChatTemplate:
    """A Jinja template, run in a sandbox as the package transformers runs it.

    Args:
        template: its text.
        names: what it may use besides the messages, such as bos_token.

    Raises: ValueError for a text that is no template.
    """

    def __init__(self, template: str, names: Mapping[str, str]) -> None:
        self.text, self.names = template, dict(names)
        with _errors():
            self.template = _environment().from_string(template)
            # What is given to it and passed over would be missing in the text, unnoticed.
            self.reads = jinja2.meta.find_undeclared_variables(_environment().parse(template))

    def render(
        self, messages: Messages, add_generation_prompt: bool = True, **variables: Any
    ) -> str:
        """The conversation as one text.

        Args:
            messages: mappings with "role" and "content", or "tool_calls" for it if the template
                reads these. What is None counts as absent: templates ask whether a key is there.
            add_generation_prompt: end with the opening of the assistant's answer.
            variables: what else the template uses, such as enable_thinking.

        Raises: ValueError for what the template itself refuses, a message without role or content,
            tools or documents that the template does not read.
        """
        check_messages(messages, calls="tool_calls" in self.text)
        given = {"tools": None, "documents": None, **self.names, **variables}
        for key in ("tools", "documents"):
            if given[key] and key not in self.reads:
                raise ValueError(f"{key} are given, but the chat template does not read them")
        with _errors():
            return self.template.render(
                messages=[
                    {key: value for key, value in message.items() if value is not None}
                    for message in messages
                ],
                add_generation_prompt=add_generation_prompt,
                **given,
            )

    def render_guarded(
        self,
        messages: Messages,
        special: Iterable[str],
        add_generation_prompt: bool = True,
        **variables: Any,
    ) -> tuple[str, str]:
        """The text with a sign inside each mark that came from a message, and that sign.

        So the marks that stand unbroken are the template's own.

        Args:
            messages, add_generation_prompt, variables: as in `render`.
            special: names that count as marks, besides all that look like one: <|…|>.

        Raises: ValueError, as `render`, and if the template reads such marks within messages.
        """
        names = tuple(special)
        plain = self.render(messages, add_generation_prompt, **variables)
        used = {*plain, *self.text, *json.dumps(list(messages), ensure_ascii=False, default=str)}
        sign = next(chr(c) for c in range(0xE000, 0xF900) if chr(c) not in used)
        broken = [
            {key: _break(value, names, sign, key == "role") for key, value in message.items()}
            for message in messages
        ]
        guarded = self.render(broken, add_generation_prompt, **variables)
        if guarded.replace(sign, "") != plain:
            raise ValueError(
                "the chat template reads marks within messages: these cannot be kept apart"
            )
        return guarded, sign


def _break(value: Any, names: Sequence[str], sign: str, is_role: bool) -> Any:
    """A value with a sign inside every mark in its texts."""
    if isinstance(value, Mapping):
        return {
            _break(key, names, sign, True): _break(inner, names, sign, is_role)
            for key, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_break(inner, names, sign, is_role) for inner in value]
    if not isinstance(value, str):
        return value
    value = MARK.sub(lambda found: found[0][0] + sign + found[0][1:], value)
    for name in names:
        if len(name) > 1:
            value = value.replace(name, name[0] + sign + name[1:])
    # What ends with a beginning of a mark could make one with what follows. A role may: some
    # templates write '<|' + role + '|>'.
    ends = [name[:i] for name in names for i in range(1, len(name)) if value.endswith(name[:i])]
    return value if is_role or not ends else value + sign


class _Generation(jinja2.ext.Extension):
    """{% generation %} … {% endgeneration %}: marks the assistant's words, and writes them."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 reads it from the class

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


@functools.cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return environment


class _errors:
    """Whatever a template raises, as ValueError."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            line = getattr(error, "lineno", None)
            where = f" (line {line})" if line else ""
            raise ValueError(f"chat template{where}: {error or type(error).__name__}") from None
