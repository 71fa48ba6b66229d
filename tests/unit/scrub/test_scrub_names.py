"""Names of persons: real spaCy pipelines and a real, tiny transformer; what is no name stays."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.training import Example
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

from noisegate.errors import SettingsError
from noisegate.scrub import Scrubber
from noisegate.scrub import names as names_module
from noisegate.scrub.names import People, load_names, persons

FIRST, LAST = ("Jane", "Ravi", "Olga", "Tom"), ("Miller", "Gupta", "Petrova", "Stone")
FRAMES = (
    ("paged by ", " at noon"),
    ("", " restarted the pod"),
    ("owner is ", ""),
    ("ask ", ", then wait"),
)
PIECES = [" ", "\n", "\r\n", "\\n", "\0", "<IPV4>", "<PERSON:0123456789ab>", "Jane Miller", "Jane"]
PIECES += ["O’Brien", "node-exporter", "Kafka", "10.0.0.1", "é", "\u0301", "漢字", "\ud800", "'s"]
PIECES += list(":-/=@.,_<>")


def named(text: str, people: People) -> list[str]:
    return [text[start:end] for start, end in people([text])[0]]


def rules(*patterns: str, label: str = "PERSON") -> spacy.language.Language:
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": label, "pattern": pattern} for pattern in patterns])
    return nlp


@pytest.fixture(scope="module")
def spacy_rules(tmp_path_factory: pytest.TempPathFactory) -> People:
    """Finds whatever is spelt like a name of the tests, wherever it stands."""
    nlp = rules(*FIRST, *LAST, *(f"{a} {b}" for a in FIRST for b in LAST), "Kafka", "IPV4")
    nlp.to_disk(folder := tmp_path_factory.mktemp("rules") / "model")
    return load_names("spacy", str(folder))


@pytest.fixture(scope="module")
def scrubber(spacy_rules: People) -> Scrubber:
    return Scrubber(people=spacy_rules)


@pytest.fixture(scope="module")
def spacy_ner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained `ner` that listens to a `tok2vec`, and components that names do not need."""
    spacy.util.fix_random_seed(7)
    nlp = spacy.blank("en")
    vectors = {"@architectures": "spacy.HashEmbedCNN.v2", "pretrained_vectors": None}
    sizes = {"width": 32, "depth": 2, "embed_size": 500, "window_size": 1, "maxout_pieces": 2}
    nlp.add_pipe("tok2vec", config={"model": vectors | sizes | {"subword_features": True}})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32, "upstream": "tok2vec"}
    nlp.add_pipe("ner", config={"model": {"tok2vec": listener}})
    nlp.add_pipe("tagger")
    examples = []
    for first, last, (before, after) in zip(FIRST * 4, LAST * 4, FRAMES * 4, strict=True):
        text = f"{before}{first} {last}{after}"
        ents = [(len(before), len(before) + len(first) + 1 + len(last), "PERSON")]
        doc = nlp.make_doc(text)
        examples.append(Example.from_dict(doc, {"entities": ents, "tags": ["X"] * len(doc)}))
    for text in ("all is well", "; from 10.1.2.3, mail", *(" < > ".join(f) for f in FRAMES)):
        doc = nlp.make_doc(text)
        examples.append(Example.from_dict(doc, {"entities": [], "tags": ["X"] * len(doc)}))
    optimiser = nlp.initialize(lambda: examples)
    optimiser.learn_rate = 0.01
    for _ in range(30):
        nlp.update(examples, sgd=optimiser)
    nlp.to_disk(folder := tmp_path_factory.mktemp("ner") / "model")
    return folder


def tokenizer(positions: int) -> PreTrainedTokenizerFast:
    """Names come in several sub-words, all other words are unknown."""
    parts = [name[:2] for name in FIRST + LAST] + ["##" + name[2:] for name in FIRST + LAST]
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *dict.fromkeys(parts)]
    made = Tokenizer(models.WordPiece({word: i for i, word in enumerate(vocab)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        model_max_length=positions,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )


def save_transformer(folder: Path, labels: tuple[str, ...], steps: int = 30) -> Path:
    """Over-fitted to the names: what is in the vocabulary is a person's, the unknown is not."""
    torch.manual_seed(7)
    words = tokenizer(positions=40)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    network = BertForTokenClassification(config)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(steps):
        ids = torch.randint(1, len(words), (8, 30))
        labelled = (ids > 3).long()
        optimiser.zero_grad()
        network(input_ids=ids, labels=labelled).loss.backward()
        optimiser.step()
    network.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_transformer(tmp_path_factory.mktemp("bert") / "model", ("O", "B-PER"))


@pytest.fixture(scope="module", params=["spacy rules", "spacy ner", "transformer"])
def people(request: pytest.FixtureRequest) -> People:
    if request.param == "spacy rules":
        found: People = request.getfixturevalue("spacy_rules")
        return found
    if request.param == "spacy ner":
        return load_names("spacy", str(request.getfixturevalue("spacy_ner")))
    return load_names("transformers", str(request.getfixturevalue("transformer")))


def test_every_kind_of_recogniser_finds_names_of_several_words(people: People) -> None:
    texts = ["paged by Olga Petrova at noon", "", "Ravi Gupta restarted the pod", "all is well"]
    found = people(texts)
    assert [[t[a:b] for a, b in spans] for t, spans in zip(texts, found, strict=True)] == [
        ["Olga Petrova"],
        [],
        ["Ravi Gupta"],
        [],
    ]


def test_a_name_anywhere_in_a_long_text_is_found_once(people: People) -> None:
    # Prime to both kinds of windows, so that names fall on their edges too.
    text = ("paged by Olga Petrova at noon\n" + "w " * 23) * 60
    assert named(text, people) == ["Olga Petrova"] * 60


def test_a_name_in_one_long_line_is_found_wherever_a_window_ends(spacy_rules: People) -> None:
    for first in range(1_060, 1_210):
        text = "." * first + " Olga Petrova " + "." * 2_000
        assert named(text, spacy_rules) == ["Olga Petrova"]


def test_names_are_gone_and_a_second_scrub_changes_nothing(people: People) -> None:
    scrubber = Scrubber(people=people)
    texts = [f"{before}Olga Petrova{after}" for before, after in FRAMES]
    texts += [text + "; from 10.1.2.3, mail olga.petrova@example.com" for text in texts]
    once, counts = scrubber.texts(texts)
    assert not any("Olga" in text or "Petrova" in text for text in once if text)
    assert counts["PERSON"] == len(texts)
    assert scrubber.texts(once) == (once, {})


@pytest.mark.parametrize(
    ("marked", "names"),
    [
        pytest.param("⟦Jane⟧, please look", ["Jane"], id="a first name alone"),
        pytest.param("ask ⟦Jane.⟧", ["Jane"], id="at the end of a sentence"),
        pytest.param("ask ⟦Jane⟧. Then wait", ["Jane"], id="before a full stop"),
        pytest.param("⟦Jane⟧: please look", ["Jane"], id="before a colon and a blank"),
        pytest.param('{"owner":"⟦Jane Miller⟧"}', ["Jane Miller"], id="in JSON's quotes"),
        pytest.param("(⟦Jane's⟧ shift)", ["Jane"], id="possessive, in brackets"),
        pytest.param("⟦Jane O’Brien-Smith Jr.⟧", ["Jane O’Brien-Smith Jr"], id="marks in a name"),
        pytest.param("by ⟦J. R. Miller⟧", ["J. R. Miller"], id="initials"),
        pytest.param("by ⟦Miller, Jane⟧", ["Miller", "Jane"], id="cut at a comma"),
        pytest.param("by ⟦Jane <Miller⟧", ["Jane", "Miller"], id="cut at a bracket"),
        pytest.param("⟦JANE MILLER⟧ acked", ["JANE MILLER"], id="capitals, two words"),
        pytest.param("by ⟦McDonald⟧", ["McDonald"], id="capital inside a name"),
        pytest.param("by ⟦jean-luc Picard⟧", ["Picard"], id="without a small word with a hyphen"),
        pytest.param("by ⟦Ольга Петрова⟧", ["Ольга Петрова"], id="another script"),
        pytest.param("by ⟦Jane\nMiller⟧", ["Jane", "Miller"], id="cut at a line break"),
        pytest.param(r"by ⟦Jane\nMiller⟧", ["Jane", "Miller"], id="cut at JSON's line break"),
        pytest.param("by ⟦Jane <USER> Miller⟧", ["Jane", "Miller"], id="cut at our token"),
        pytest.param("web ⟦web-1 Jane Miller⟧", ["Jane Miller"], id="without a host before it"),
        pytest.param("⟦Jane⟧ and ⟦Ravi⟧", ["Jane", "Ravi"], id="two names"),
        pytest.param("by <⟦PERSON:0123456789ab⟧>", [], id="our own pseudonym"),
        pytest.param("by ⟦<PERSON>⟧", [], id="our own token"),
        pytest.param("pod ⟦jane⟧-7f9c restarts", [], id="a pod"),
        pytest.param("host db.⟦jane⟧.internal", [], id="a part of a host"),
        pytest.param("image ⟦Jane⟧:latest", [], id="an image and its tag"),
        pytest.param("image ⟦Jane⟧:<SECRET>", [], id="a part that our token follows"),
        pytest.param("from <IPV4>⟦Jane⟧", [], id="right behind our token"),
        pytest.param("by ⟦Jane⟧<USER>", [], id="right before our token"),
        pytest.param("in /srv/⟦Jane⟧/data", [], id="a part of a path"),
        pytest.param("owner=⟦Jane⟧", [], id="a value: the rule of user names looks there"),
        pytest.param("see @⟦Jane⟧", [], id="a handle"),
        pytest.param("⟦Jane⟧2 is down", [], id="a digit beside"),
        pytest.param("⟦node-exporter⟧ is down", [], id="a service with a hyphen"),
        pytest.param("⟦Apache Kafka⟧ lags", [], id="a system called after a person"),
        pytest.param("⟦root⟧ did it", [], id="a system account"),
        pytest.param("⟦CRITICAL⟧", [], id="one word in capitals"),
        pytest.param("⟦KubeNodeNotReady⟧", [], id="an alert's name"),
        pytest.param("at ⟦12:30 --⟧", [], id="no letter"),
        pytest.param("⟦" + "x" * 65 + "⟧", [], id="longer than any name"),
    ],
)
def test_persons_keeps_what_can_be_a_name(marked: str, names: list[str]) -> None:
    """The recogniser's spans stand between ⟦ and ⟧."""
    parts = re.split("[⟦⟧]", marked)
    ends = list(accumulate(map(len, parts)))
    text = "".join(parts)
    given_spans = list(zip(ends[::2], ends[1::2], strict=False))
    assert [text[start:end] for start, end in persons(text, given_spans)] == names


spans = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted).map(tuple))


@settings(max_examples=400, deadline=None)
@given(text=st.lists(st.sampled_from(PIECES), max_size=12).map("".join), given_spans=spans)
def test_spans_of_persons_are_disjoint_inside_and_cross_nothing(
    text: str, given_spans: list[tuple[int, int]]
) -> None:
    found = persons(text, given_spans)
    assert [place for span in found for place in span] == sorted(
        place for span in found for place in span
    )
    for start, end in found:
        name = text[start:end]
        assert 0 <= start < end <= len(text) and len(name) <= 64
        assert any(map(str.isalpha, name))
        assert not set(name) & set("\r\n\0<>0123456789:/=@")
        assert all(any(a <= place < b for a, b in given_spans) for place in range(start, end))


class Sliced(str):
    """Counts the characters that are copied out of it."""

    copied = 0

    def __getitem__(self, key: Any) -> str:
        Sliced.copied += len(part := super().__getitem__(key))
        return part


def test_a_name_is_looked_at_without_the_rest_of_its_text() -> None:
    text = Sliced("Jane Miller " * 10_000)
    Sliced.copied = 0
    assert list(names_module._runs(text, [(0, 4), (5, 11)])) == [(0, 11)]
    assert Sliced.copied < 100


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), max_size=4))
def test_any_text_can_be_read(spacy_rules: People, texts: list[str]) -> None:
    found = spacy_rules(texts)
    assert [persons(t, s) for t, s in zip(texts, found, strict=True)] == found


@settings(max_examples=300, deadline=None)
@given(text=st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_scrubbing_what_was_scrubbed_changes_nothing(scrubber: Scrubber, text: str) -> None:
    once, _ = scrubber.texts([text])
    assert scrubber.texts(once)[0] == once


def test_a_recogniser_runs_only_the_components_that_it_needs(
    spacy_ner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Iterator[object]:
        raise AssertionError("the tagger ran")

    monkeypatch.setattr(spacy.pipeline.Tagger, "pipe", refuse)
    assert named("owner is Olga Petrova", load_names("spacy", str(spacy_ner))) == ["Olga Petrova"]


@pytest.mark.parametrize("label", ["PER", "persName", "I-PER", "B_PERSON"])
def test_labels_of_a_person_are_known_in_all_spellings(label: str, tmp_path: Path) -> None:
    rules("Jane Miller", label=label).to_disk(tmp_path / "model")
    assert named("by Jane Miller", load_names("spacy", str(tmp_path / "model"))) == ["Jane Miller"]


def test_other_labels_are_no_persons(tmp_path: Path) -> None:
    nlp = rules("Jane Miller")
    nlp.get_pipe("entity_ruler").add_patterns([{"label": "PERCENT", "pattern": "Tom Stone"}])
    nlp.to_disk(tmp_path / "model")
    assert named("Tom Stone, Jane Miller", load_names("spacy", str(tmp_path / "model"))) == [
        "Jane Miller"
    ]


@pytest.mark.parametrize(
    ("kind", "model", "says"),
    [
        pytest.param("flair", "x", 'names is "flair": choose "off", "spacy" or', id="kind"),
        pytest.param("spacy", "", "names_model is empty: install a spaCy", id="no model named"),
        pytest.param("spacy", "no_such_model", "github.com/explosion/spacy-models", id="spacy"),
        pytest.param("transformers", "/no/model", "then copy it", id="transformer"),
    ],
)
def test_what_cannot_be_loaded_says_how_to_get_it(kind: str, model: str, says: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load_names(kind, model)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_model_without_persons_is_refused(tmp_path: Path) -> None:
    rules("Berlin", label="PERCENT").to_disk(tmp_path / "spacy")
    with pytest.raises(SettingsError, match="finds no persons: its pipeline"):
        load_names("spacy", str(tmp_path / "spacy"))
    save_transformer(tmp_path / "bert", ("O", "B-PERCENT"), steps=0)
    with pytest.raises(SettingsError, match=r"none of its labels \(O, B-PERCENT\)"):
        load_names("transformers", str(tmp_path / "bert"))


@pytest.mark.parametrize(
    ("kind", "says"), [("spacy", "noisegate[names]"), ("transformers", "pip install")]
)
def test_a_missing_package_is_named(kind: str, says: str) -> None:
    code = (
        f"import sys; sys.modules[{kind!r}] = None\n"
        "from noisegate.scrub.names import load_names\n"
        f"load_names({kind!r}, 'model')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("noisegate.errors.SettingsError") and says in last


def test_nobody_is_told_and_no_threads_are_started(transformer: Path) -> None:
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from noisegate.scrub.names import load_names\n"
        f"load_names('transformers', {str(transformer)!r})(['by Olga Petrova'])\n"
        "from huggingface_hub import constants\n"
        "import os\n"
        "print(torch.get_num_threads(), constants.HF_HUB_DISABLE_TELEMETRY,"
        " os.environ['TOKENIZERS_PARALLELISM'])"
    )
    quiet = ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "TOKENIZERS_PARALLELISM")
    told = {name: value for name, value in os.environ.items() if name not in quiet}
    done = subprocess.run([sys.executable, "-c", code], env=told, capture_output=True, text=True)
    assert done.stdout == "1 True false\n"
