"""The recipe on a small random model: losses are right, runs resume, commands take the product."""

import argparse
import random

import pytest
import torch
from torch.utils.data import DataLoader

from small_omni.adapter import LoRA, Places, merge
from small_omni.assembly import assemble
from small_omni.recipe.alignment import Words
from small_omni.recipe.questions import ask, choice
from small_omni.recipe.stream import Shape, Stream
from small_omni.recipe.texts import conversations, prompts, replies
from small_omni.recipe.trainee import Trainee
from small_omni.recipe.validation import validate
from small_omni.train import learning_rate, parser, train
from tiny_omni.batches import IGNORE, SOUNDS, Packer
from tiny_omni.clips import Bank
from tiny_omni.scenes import compose

PLACES = Places(decoder_rank=2, encoder_rank=2, encoder_layers=1)


@pytest.fixture
def trainee(omni):
    return Trainee(omni, PLACES).eval()


def disturb(trainee):
    """Make the change of every LoRA something."""
    torch.manual_seed(0)
    for module in trainee.omni.modules():
        if isinstance(module, LoRA):
            torch.nn.init.normal_(module.b, std=0.1)


@torch.inference_mode()
def test_packed_questions_score_as_separate_prompts(trainee):
    scene = compose(Bank.of("calibration"), 0, 6.0, need="digits")
    packer, asked = Packer(trainee.tokenizer), ask(scene, "0")[:3]
    together = packer([scene], [asked])
    losses, _ = trainee.answers(trainee.encode(together.samples), together)
    alone = []
    for question in asked:
        batch = packer([scene], [[question]])
        alone.append(trainee.answers(trainee.encode(batch.samples), batch)[0])
    torch.testing.assert_close(losses, torch.cat(alone), rtol=1e-4, atol=1e-4)


def test_drift_is_the_divergence_from_the_untrained_model(trainee):
    asked = prompts(3)
    ids, counted = conversations(trainee, list(zip(asked, replies(trainee, asked), strict=True)))
    assert trainee.drift(ids, counted) == 0
    with torch.no_grad():
        before = trainee.omni(input_ids=ids).logits[counted].log_softmax(-1)
        disturb(trainee)
        after = trainee.omni(input_ids=ids).logits[counted].log_softmax(-1)
    expected = (before.exp() * (before - after)).sum(-1).mean()
    drift = trainee.drift(ids, counted)
    torch.testing.assert_close(drift.detach(), expected)
    drift.backward()
    moved = trainee.decoder.layers[0].mlp.up_proj.b.grad
    assert moved is not None
    assert moved.abs().sum() > 0


def test_texts_are_compared_where_the_assistant_speaks(trainee):
    end = trainee.tokenizer.eos_token_id
    ids, counted = conversations(trainee, [("Name a bird.", [300, 301, end])])
    after = ids[0][counted[0]].tolist()
    # the newline before the reply tells its first token, and so on; after the end nothing follows
    assert after[1:] == [300, 301]
    assert trainee.tokenizer.decode(after[0]) == "\n"


def test_batches_follow_from_seed_and_step(trainee, tmp_path):
    def batches(first, seed=0):
        stream = Stream(
            Packer(trainee.tokenizer),
            seed=seed,
            first=first,
            short=10,
            shape=Shape(8.0, 2),
            speech=tmp_path,
        )
        return zip(range(2), stream, strict=False)

    (_, _), (_, second) = batches(0)
    (_, again), _ = batches(1)
    assert torch.equal(second.samples, again.samples)
    assert torch.equal(second.ids, again.ids)
    (_, other), _ = batches(1, seed=1)
    assert second.samples.shape != other.samples.shape or not torch.equal(
        second.samples, other.samples
    )
    assert all(len(row) <= 2 for row in second.tasks)


def test_batches_come_in_order_from_several_processes(trainee, tmp_path):
    packer, shape = Packer(trainee.tokenizer), Shape(6.0, 1)
    stream = Stream(packer, seed=0, first=4, short=10, shape=shape, speech=tmp_path)
    loader = DataLoader(stream, batch_size=None, num_workers=2)
    for _, one, other in zip(range(3), stream, loader, strict=False):
        assert torch.equal(one.ids, other.ids)


def test_talks_need_synthetic_speech(trainee, tmp_path):
    stream = Stream(
        Packer(trainee.tokenizer), seed=0, first=0, short=0, shape=Shape(), speech=tmp_path
    )
    with pytest.raises(FileNotFoundError, match=r"python -m small_omni\.speech"):
        next(iter(stream))


def test_questions_keep_their_answers(trainee):
    bank = Bank.of("calibration")
    for number in range(8):
        scene = compose(bank, number, 10.0)
        for question in ask(scene, str(number)):
            if question.task.endswith("/choice"):
                lines = question.prompt.splitlines()
                (line,) = [line for line in lines if line.startswith(question.answer)]
                assert line[1] in ".:)"
            if question.task == "first":
                one = question.prompt.index(question.answer)
                assert one > 0
            assert question.answer


def test_choices_name_every_option_once():
    prompt, letter = choice("Which?", "cello", ["flute", "violin"], random.Random(0))
    options = {line[0]: line[3:] for line in prompt.splitlines()[1:4]}
    assert set(options.values()) == {"cello", "flute", "violin"}
    assert options[letter] == "cello"


def test_learning_rate_warms_up_stays_and_falls():
    rates = [learning_rate(step, 100, 1e-3, 0.5) for step in range(100)]
    assert rates[0] == pytest.approx(5e-5)
    assert rates[20] == rates[49] == 1e-3
    assert rates[-1] == pytest.approx(2e-5)


def arguments(work, steps, **more):
    options = {
        **vars(parser().parse_args([])),
        "work": work,
        "device": "cpu",
        "align": 3,
        "texts": 2,
        "seconds": 8.0,
        "steps": steps,
        "decay": 0.0,
        "places": PLACES,
        "validate_scenes": 2,
        **more,
    }
    return argparse.Namespace(**options)


@pytest.fixture(scope="module")
def product(random_parts, tmp_path_factory):
    """A folder in which a run was stopped after two steps and went on to three."""
    work = tmp_path_factory.mktemp("run")
    for steps in (2, 3):
        train(arguments(work, steps), Trainee(assemble(random_parts), PLACES))
    return work


def test_stopped_run_goes_on_as_if_never_stopped(random_parts, product, tmp_path):
    train(arguments(tmp_path, 3, validate_every=3), Trainee(assemble(random_parts), PLACES))
    whole, resumed = (
        torch.load(work / "checkpoint.pt", weights_only=True) for work in (tmp_path, product)
    )
    assert whole["step"] == resumed["step"] == 3
    for part in ("parameters", "averaged"):
        for name, tensor in whole[part].items():
            assert torch.equal(tensor, resumed[part][name]), name
    assert '"validation"' in (tmp_path / "log.jsonl").read_text()


def test_run_with_other_settings_does_not_go_on(random_parts, product):
    with pytest.raises(ValueError, match=r"another rate.*'0\.001'"):
        train(arguments(product, 4, rate=5e-4), Trainee(assemble(random_parts), PLACES))


def test_learning_lowers_the_loss(random_parts, tmp_path):
    trainee = Trainee(assemble(random_parts), PLACES)
    train(arguments(tmp_path, 12, print_every=1, texts=0), trainee)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    losses = [float(line.split('"loss": ')[1].split(",")[0]) for line in lines if "loss" in line]
    assert len(losses) == 12
    assert min(losses[-3:]) < losses[0]


def test_product_is_merged_and_validated(random_parts, product, tmp_path):
    omni = assemble(random_parts)
    merge(omni.model, product / "adapter.safetensors")
    omni.save(tmp_path / "small")
    scores = validate(Trainee(omni, Places(0, 0)), 6.0, 2)
    assert 0 <= scores["mean"] <= 1
    assert scores["questions"] > 4


def test_audio_is_drawn_to_the_words_for_what_sounds(trainee):
    words = Words(trainee)
    sound = SOUNDS.index("digit/seven")
    unnamed = torch.full((3,), IGNORE)
    labels = {"sound": torch.tensor([sound, 0, sound]), "emotion": unnamed}
    labels |= {"gender": unnamed, "bed": unnamed}
    table = trainee.decoder.embed_tokens.weight
    ids = trainee.tokenizer(" seven")["input_ids"]
    spoken = table[ids].mean(0, keepdim=True).expand(3, -1)
    near, right = words.loss(spoken, labels)
    assert right == {"sound": pytest.approx(2 / 3)}
    far, _ = words.loss(table.mean(0) - spoken, labels)
    assert near < far
