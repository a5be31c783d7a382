"""The real lmms-eval runs a task on real audio; only where it is installed.

It is no dependency of the tests: see docs/lmms-eval.md for how this was run.
"""

import json

import pytest
import soundfile

from calibrate.evaluation.lmms_eval import MODEL
from calibrate.models.asking import answer
from calibrate.terminal.errors import AudioError
from headrouter_core import HeadRouter, UsageError, load_profile, prune, scoring

pytest.importorskip("lmms_eval", reason="lmms-eval is not installed")

PROMPT = "Which digits are spoken?"
#: A task as its users write them: two ways to hand over audio, one document a line.
TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: {kind}
{media}: !function task.audio
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "answer"
doc_to_choice: ["zero", "one"]
generation_kwargs: {settings}
process_results: !function task.score
metric_list: [{{metric: right, aggregation: mean, higher_is_better: true}}]
metadata: [{{version: 0.0}}]
"""
CODE = """
import soundfile

def audio(doc):
    if doc["form"] == "array":
        samples, rate = soundfile.read(doc["audio"])
        return [{"path": "a.flac", "array": samples, "sampling_rate": rate}]
    return [doc["audio"]] if doc["form"] == "path" else []

def score(doc, results):
    return {"right": float(results[0] == doc["answer"])}
"""


@pytest.fixture(scope="module")
def evaluate(tmp_path_factory):
    """Evaluate the registered model on documents, from arguments as text."""
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.tasks import TaskManager

    # lmms-eval fetches nothing here, but datasets keeps what it reads
    cache = tmp_path_factory.mktemp("datasets")
    made = []

    def run(documents, arguments="", kind="generate_until", media="doc_to_visual", **options):
        folder = tmp_path_factory.mktemp("task")
        name = f"heard_{len(made)}"
        made.append(name)
        settings = "{max_new_tokens: 6}" if kind == "generate_until" else "null"
        data = folder / "data.jsonl"
        data.write_text("".join(json.dumps(document) + "\n" for document in documents))
        (folder / "task.py").write_text(CODE)
        text = TASK.format(name=name, data=data, kind=kind, media=media, settings=settings)
        (folder / "heard.yaml").write_text(text)
        results = simple_evaluate(
            model=MODEL,
            model_args=f"pretrained=tiny-omni,device=cpu,{arguments}".rstrip(","),
            tasks=[name],
            task_manager=TaskManager(include_path=str(folder), model_name=MODEL),
            **options,
        )
        return results, name

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("datasets.config.HF_DATASETS_CACHE", cache)
        yield run


@pytest.fixture
def documents(speech, tiny, tmp_path):
    """Recordings, and what the pruned model says about them when the engine is asked directly."""
    made = []
    for number, samples in enumerate(speech):
        path = tmp_path / f"{number}.flac"
        soundfile.write(path, samples, 16_000)
        heard, _ = soundfile.read(path, dtype="float32")
        inputs = tiny.place(tiny.frontend.inputs([heard], PROMPT))
        with prune(tiny.model, HeadRouter(load_profile("tiny-omni")), 0.9):
            said = answer(tiny, inputs, 6).text
        form = ("array", "path")[number % 2]
        made.append({"audio": str(path), "prompt": PROMPT, "answer": said, "form": form})
    return made


def test_the_entry_point_registers_the_model():
    from lmms_eval.models import get_model

    from calibrate.evaluation.lmms_eval.model import PrunedOmni

    assert get_model(MODEL) is get_model(MODEL, force_simple=True) is PrunedOmni


@pytest.mark.parametrize("batch_size", ["1", "2"])
def test_a_task_is_scored_by_what_the_pruned_model_says(evaluate, documents, batch_size):
    results, name = evaluate(documents, "ratio=0.9", batch_size=batch_size)
    said = [sample["resps"][0][0] for sample in results["samples"][name]]
    assert said == [document["answer"] for document in documents]
    assert all(said)
    assert results["results"][name]["right,none"] == 1
    tokens = (100, 300, 200)
    kept = sum(scoring.keep_count(n, 0.9) for n in tokens) / 3
    assert results["throughput"]["avg_audio_tokens"] == pytest.approx(sum(tokens) / 3)
    assert results["throughput"]["avg_kept_tokens"] == pytest.approx(kept)


def test_a_document_without_audio_is_no_score(evaluate, documents):
    documents[1]["form"] = "none"
    with pytest.raises(AudioError, match="document 1: the task hands over no audio"):
        evaluate(documents)


def test_likelihoods_are_refused(evaluate, documents):
    with pytest.raises(UsageError, match="does not answer loglikelihood"):
        evaluate(documents, kind="multiple_choice")


def test_a_task_for_chat_models_only_is_refused(evaluate, documents):
    with pytest.raises(AudioError, match="hands over no audio"):
        evaluate(documents, media="doc_to_messages")


def test_a_system_prompt_may_be_a_file(tmp_path):
    from calibrate.evaluation.lmms_eval.model import PrunedOmni

    file = tmp_path / "system.txt"
    file.write_text("Be brief, now.\n")
    made = PrunedOmni(pretrained="tiny-omni", device="cpu", system_prompt=str(file))
    assert made._settings.system_prompt == "Be brief, now."
    made.clean()
    with pytest.raises(UsageError, match="make a new one"):
        made.generate_until([])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("ratio=1.5", "outside"),
        ("method=best", "there is no method"),
        ("attn_implementation=eager", "no model argument"),
    ],
)
def test_arguments_are_checked(evaluate, documents, arguments, says):
    with pytest.raises(UsageError, match=says):
        evaluate(documents, arguments)
