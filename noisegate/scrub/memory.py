"""What texts became: those scrubbed lately are not scrubbed again."""

from collections.abc import Mapping, Sequence

MOST_CHARS = 32_000_000
"""Texts are forgotten, the oldest first, when they cost more together: about as many bytes."""
_OF_ITSELF = 192  # what a text costs beside its characters


class Memory:
    """Texts and what became of them, so many that they cost no more than `most_chars`."""

    def __init__(self, most_chars: int = MOST_CHARS) -> None:
        self._most_chars = most_chars
        self._chars = 0
        self._scrubbed: dict[str, str] = {}
        self._entities: dict[str, tuple[str, ...]] = {}

    def recall(self, texts: Sequence[str]) -> tuple[list[str | None], dict[int, tuple[str, ...]]]:
        """What became of each text (None: not known), and what was replaced, by place."""
        scrubbed = list(map(self._scrubbed.get, texts))
        if not self._entities:
            return scrubbed, {}
        entities = map(self._entities.get, texts)
        return scrubbed, {place: names for place, names in enumerate(entities) if names}

    def keep(
        self, texts: Sequence[str], scrubbed: Sequence[str], entities: Mapping[int, tuple[str, ...]]
    ) -> None:
        """Remember what became of new texts."""
        self._scrubbed.update(zip(texts, scrubbed, strict=True))
        self._entities.update((texts[place], names) for place, names in entities.items())
        self._chars += sum(map(len, texts)) + _OF_ITSELF * len(texts)
        if self._chars > self._most_chars:
            self._forget()

    def _forget(self) -> None:
        # A quarter more than needed, so that it is seldom.
        gone: list[str] = []
        for text in self._scrubbed:
            if self._chars <= 0.75 * self._most_chars:
                break
            self._chars -= len(text) + _OF_ITSELF
            gone.append(text)
        for text in gone:
            del self._scrubbed[text]
            self._entities.pop(text, None)
