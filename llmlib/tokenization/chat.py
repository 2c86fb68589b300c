"""How a conversation becomes one text: the ChatML layout.

Models ship the layout as a Jinja template. Here it is a dozen lines of Python, recognized by the
template's text; a template of another layout is refused, never guessed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

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

        Raises: ValueError for a template of another layout.
        """
        text = template.replace("\\n", "\n")  # an escape in some files, a line break in others
        if not (text.startswith(HEAD) and text.endswith(TAIL)):
            raise ValueError(f"unknown chat template {template[:60]!r}…, expected ChatML's")
        return cls(text[len(HEAD) : -len(TAIL)])

    def segments(
        self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> Iterator[tuple[str, bool]]:
        """The rendered text in parts; True marks a special token, which a message cannot forge.

        Args:
            messages: mappings with "role" and "content".
            add_generation_prompt: end with the opening of the assistant's answer.

        Raises: ValueError for a message without a role or content.
        """
        turns = []
        for i, message in enumerate(messages):
            role, content = message.get("role"), message.get("content")
            if not isinstance(role, str) or not isinstance(content, str):
                raise ValueError(f"message {i} is {message!r}, expected role and content as text")
            turns.append((role, content))
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

    def render(
        self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The conversation as the template writes it."""
        return "".join(text for text, _ in self.segments(messages, add_generation_prompt))
