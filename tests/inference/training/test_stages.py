"""The stages as their parties run them: folders in, folders out, interrupted and damaged."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.inference.training.test_recipe import SHAPE, texts_about
from webapp.inference import load_checkpoint, reduce_checkpoint, token_logits, verify_optout
from webapp.inference.card import ExpertCard, read_checkpoint_card, read_json
from webapp.inference.contributions import read_contributions
from webapp.inference.errors import CheckpointError, TrainingError
from webapp.inference.matrices import check_contributions, stored_digest
from webapp.inference.training import loop, stages
from webapp.inference.training.contribution import CONTRIBUTION_FILE, EXPERT_FILE, base_digest
from webapp.inference.training.demo import DemoPlan, train_demo
from webapp.inference.training.load import load_model
from webapp.inference.training.loop import Budget

RUN = stages.Run(Budget(max_steps=4, rows=4, length=32, warmup_steps=1, dropout=0.1), seed=3, device="cpu")
PUBLIC = ExpertCard("public", "Horses", "everyone", None, "CC0-1.0")


def owner(word: str) -> ExpertCard:
    return ExpertCard(word, f"All about the {word}", f"{word} society", word, "CC-BY-4.0")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("base") / "base"
    stages.train_base(texts_about("horse"), SHAPE, PUBLIC, out, RUN)
    return out


@pytest.fixture(scope="module")
def sent(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sent")
    for word in ("swan", "rocket"):
        stages.train_contribution(
            base, texts_about(word), owner(word), folder / word, RUN, public_texts=texts_about("horse")
        )
    return {word: folder / word for word in ("swan", "rocket")}


@pytest.fixture
def copied(sent: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(sent["swan"], tmp_path / "swan"))


def test_merged_shared_weights_are_the_bases_bit_for_bit(base: Path, sent: dict[str, Path], tmp_path: Path) -> None:
    stages.merge_experts(base, list(sent.values()), tmp_path / "merged")
    before, after = load_file(base / "model.safetensors"), load_file(tmp_path / "merged" / "model.safetensors")
    for name, tensor in before.items():
        now = after[name][:1] if name.endswith("mlp.gate.weight") else after[name]
        assert torch.equal(now, tensor), name
    card = read_checkpoint_card(tmp_path / "merged")
    assert card.slugs == ("public", "swan", "rocket")
    assert card.opt_out_exact
    assert card.experts[1] == owner("swan")


def test_merged_checkpoint_without_the_owners_answers_as_the_base(
    base: Path, sent: dict[str, Path], tmp_path: Path
) -> None:
    stages.merge_experts(base, list(sent.values()), tmp_path / "merged")
    merged = load_checkpoint(tmp_path / "merged", dtype="float32", device="cpu")
    alone = load_checkpoint(base, dtype="float32", device="cpu")
    ids = merged.tokenizer.encode(texts_about("swan")[7]).ids[:30]
    ours = token_logits(merged, ids, frozenset({"public"}))
    assert (ours - token_logits(alone, ids, frozenset({"public"}))).abs().max().item() < 1e-4
    proof = verify_optout(tmp_path / "merged", ["public", "rocket"], texts_about("swan")[:2])
    assert proof.max_difference < 1e-4


def test_merged_checkpoint_keeps_what_each_owner_sent_and_a_subset_its_own(
    base: Path, sent: dict[str, Path], tmp_path: Path
) -> None:
    stages.merge_experts(base, list(sent.values()), tmp_path / "merged", merged_by="the museum")
    records = read_contributions(tmp_path / "merged")
    assert list(records) == ["swan", "rocket"]
    swan = records["swan"]
    body = json.loads((sent["swan"] / CONTRIBUTION_FILE).read_text())
    weights = (sent["swan"] / EXPERT_FILE).read_bytes()
    assert swan.weights_sha256 == body["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert (swan.owner, swan.licence, swan.merged_by) == ("swan society", "CC-BY-4.0", "the museum")
    assert (swan.measured, swan.n_corpus_tokens) == (body["measured"], body["n_corpus_tokens"])
    assert abs(datetime.now(UTC) - datetime.fromisoformat(swan.merged_at)) < timedelta(minutes=5)
    reduce_checkpoint(tmp_path / "merged", tmp_path / "reduced", ["public", "rocket"])
    assert read_contributions(tmp_path / "reduced") == {"rocket": records["rocket"]}
    assert read_contributions(base) == {}


def test_digest_of_the_matrices_is_of_what_was_sent_merged_and_reduced(
    base: Path, sent: dict[str, Path], tmp_path: Path
) -> None:
    merged = tmp_path / "merged"
    stages.merge_experts(base, list(sent.values()), merged)
    records = read_contributions(merged)
    for position, (slug, folder) in enumerate(sent.items(), start=1):
        tensors = load_file(folder / EXPERT_FILE)
        layers = range(len(tensors) // 5)
        names = [f"model.layers.{i}.mlp.expert.{part}_proj.weight" for i in layers for part in ("gate", "up", "down")]
        raw = b"".join(tensors[name].view(torch.uint8).numpy().tobytes() for name in names)
        assert records[slug].matrices_sha256 == hashlib.sha256(raw).hexdigest() == stored_digest(merged, position)
    assert records["swan"].matrices_sha256 != records["rocket"].matrices_sha256
    reduce_checkpoint(merged, tmp_path / "reduced", ["public", "rocket"])
    assert stored_digest(tmp_path / "reduced", 1) == records["rocket"].matrices_sha256
    fused = fuse_experts(merged, tmp_path / "fused")
    assert [stored_digest(fused, 1), stored_digest(fused, 2)] == [r.matrices_sha256 for r in records.values()]
    check_contributions(merged, read_checkpoint_card(merged), records)
    swapped = {"swan": replace(records["swan"], matrices_sha256=records["rocket"].matrices_sha256)}
    with pytest.raises(CheckpointError, match="records other matrices of the expert 'swan'"):
        check_contributions(merged, read_checkpoint_card(merged), swapped)


def test_public_part_of_merged_weights_is_the_base_that_owners_named(
    base: Path, sent: dict[str, Path], tmp_path: Path
) -> None:
    stages.merge_experts(base, list(sent.values()), tmp_path / "merged")
    reduce_checkpoint(tmp_path / "merged", tmp_path / "public", ["public"])
    named = {record.base_digest for record in read_contributions(tmp_path / "merged").values()}
    assert named == {base_digest(tmp_path / "public")}


def fuse_experts(path: Path, out: Path) -> Path:
    """Copy a checkpoint so that a layer's experts are one tensor, as transformers also writes them."""
    shutil.copytree(path, out)
    tensors = load_file(out / "model.safetensors")
    n_layers = read_json(out / "config.json")["num_hidden_layers"]
    for layer in range(n_layers):
        root = f"model.layers.{layer}.mlp.experts."
        parts = {
            part: torch.stack([tensors.pop(f"{root}{expert}.{part}_proj.weight") for expert in range(3)])
            for part in ("gate", "up", "down")
        }
        tensors[f"{root}gate_up_proj"] = torch.cat([parts["gate"], parts["up"]], dim=1)
        tensors[f"{root}down_proj"] = parts["down"]
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    return out


def test_nothing_of_the_text_is_in_a_contribution(sent: dict[str, Path]) -> None:
    files = {file.name for file in sent["swan"].iterdir()}
    assert files == {EXPERT_FILE, CONTRIBUTION_FILE, "README.md"}
    for file in sent["swan"].iterdir():
        assert texts_about("swan")[3].encode() not in file.read_bytes()
    body = json.loads((sent["swan"] / CONTRIBUTION_FILE).read_text())
    assert body["expert"]["owner"] == "swan society"
    assert body["measured"].keys() == {"own", "public"}
    assert "CC-BY-4.0" in (sent["swan"] / "README.md").read_text()


def test_tuned_router_promises_no_exact_opt_out_and_keeps_the_rows_from_before(
    base: Path, sent: dict[str, Path], tmp_path: Path
) -> None:
    proxies = {word: texts_about(word) for word in ("horse", "swan", "rocket")}
    stages.merge_experts(base, list(sent.values()), tmp_path / "plain")
    stages.merge_experts(base, list(sent.values()), tmp_path / "tuned", proxies=proxies, run=RUN)
    assert not read_checkpoint_card(tmp_path / "tuned").opt_out_exact
    reduce_checkpoint(tmp_path / "plain", tmp_path / "a", ["public", "rocket"])
    reduce_checkpoint(tmp_path / "tuned", tmp_path / "b", ["public", "rocket"], before_tuning=True)
    reduce_checkpoint(tmp_path / "tuned", tmp_path / "c", ["public", "rocket"])
    name = "model.layers.0.mlp.gate.weight"
    plain, strict, tuned = (load_file(tmp_path / each / "model.safetensors") for each in "abc")
    assert all(torch.equal(plain[each], strict[each]) for each in plain)
    assert not torch.equal(plain[name], tuned[name])
    assert read_checkpoint_card(tmp_path / "b").opt_out_exact
    with pytest.raises(CheckpointError, match="were not kept"):
        reduce_checkpoint(tmp_path / "plain", tmp_path / "d", ["public"], before_tuning=True)


def test_training_model_computes_what_the_site_serves(base: Path, sent: dict[str, Path], tmp_path: Path) -> None:
    stages.merge_experts(base, list(sent.values()), tmp_path / "merged")
    served = load_checkpoint(tmp_path / "merged", dtype="float32", device="cpu")
    ids = served.tokenizer.encode(texts_about("rocket")[11]).ids[:30]
    with torch.no_grad():
        ours = load_model(tmp_path / "merged", torch.device("cpu"))(torch.tensor([ids]))[0]
    theirs = token_logits(served, ids, frozenset(served.expert_slugs))
    assert (ours - theirs).abs().max().item() < 1e-4


class Killed(Exception):
    """The process ends here."""


@pytest.mark.parametrize("killed_after", [1, 3])
def test_killed_training_goes_on_and_ends_with_the_same_weights(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_after: int
) -> None:
    run = replace(RUN, save_every_s=0.0)

    def train(out: Path) -> None:
        stages.train_contribution(base, texts_about("swan"), owner("swan"), out, run, public_texts=texts_about("horse"))

    train(tmp_path / "whole")
    save, saved = loop._save, []

    def save_and_die(*arguments: object) -> None:
        save(*arguments)  # type: ignore[arg-type]
        saved.append(1)
        if len(saved) == killed_after:
            raise Killed

    monkeypatch.setattr(loop, "_save", save_and_die)
    with pytest.raises(Killed):
        train(tmp_path / "twice")
    monkeypatch.setattr(loop, "_save", save)
    with pytest.raises(CheckpointError, match="other settings"):
        stages.train_contribution(base, texts_about("swan"), owner("swan"), tmp_path / "twice", replace(run, seed=4))
    lines: list[str] = []
    run = replace(run, report=lines.append)
    train(tmp_path / "twice")
    assert any(f"goes on after step {killed_after}" in line for line in lines)
    whole, twice = (load_file(tmp_path / each / EXPERT_FILE) for each in ("whole", "twice"))
    assert all(torch.equal(whole[name], twice[name]) for name in whole)
    assert not list(tmp_path.glob(".*"))


def test_damaged_state_is_refused(base: Path, tmp_path: Path) -> None:
    (tmp_path / ".swan.training").write_bytes(b"\x10rubbish")
    with pytest.raises(CheckpointError, match="delete it to begin again"):
        stages.train_contribution(base, texts_about("swan"), owner("swan"), tmp_path / "swan", RUN)


def test_contribution_of_another_base_is_refused(base: Path, copied: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(base, tmp_path / "other"))
    weights = load_file(other / "model.safetensors")
    weights["model.norm.weight"] += 1
    save_file(weights, other / "model.safetensors")
    with pytest.raises(CheckpointError, match="another base"):
        stages.merge_experts(other, [copied], tmp_path / "merged")


def change(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write other weights and declare them."""
    import hashlib

    save_file(tensors, folder / EXPERT_FILE)
    body = json.loads((folder / CONTRIBUTION_FILE).read_text())
    body["weights_sha256"] = hashlib.sha256((folder / EXPERT_FILE).read_bytes()).hexdigest()
    (folder / CONTRIBUTION_FILE).write_text(json.dumps(body))


def test_weights_other_than_declared_are_refused(base: Path, copied: Path, tmp_path: Path) -> None:
    tensors = load_file(copied / EXPERT_FILE)
    tensors["model.layers.0.mlp.gate.row"] += 1
    save_file(tensors, copied / EXPERT_FILE)
    with pytest.raises(CheckpointError, match="is not the file that"):
        stages.merge_experts(base, [copied], tmp_path / "merged")


def test_bad_weights_are_refused_by_name(base: Path, copied: Path, tmp_path: Path) -> None:
    name = "model.layers.1.mlp.expert.up_proj.weight"
    good = load_file(copied / EXPERT_FILE)
    for tensors, reason in (
        ({**good, name: good[name] * float("nan")}, "not finite"),
        ({**good, name: good[name][:-1].clone()}, "has shape"),
        ({key: value for key, value in good.items() if key != name}, "is missing"),
        ({**good, "more": good[name].clone()}, "does not belong"),
    ):
        change(copied, tensors)
        with pytest.raises(CheckpointError, match=reason):
            stages.merge_experts(base, [copied], tmp_path / "merged")
    change(copied, {**good, "model.layers.0.mlp.gate.public_row": good["model.layers.0.mlp.gate.public_row"] + 1})
    with pytest.raises(TrainingError, match="another public router row"):
        stages.merge_experts(base, [copied], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_two_experts_of_one_name_are_refused(base: Path, sent: dict[str, Path], copied: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="choose another --slug"):
        stages.merge_experts(base, [sent["swan"], copied], tmp_path / "merged")


def test_existing_result_is_not_overwritten(base: Path) -> None:
    with pytest.raises(CheckpointError, match="exists already"):
        stages.train_contribution(base, texts_about("swan"), owner("swan"), base, RUN)


def test_dense_olmo2_is_a_base_with_public_text(base: Path, tmp_path: Path) -> None:
    dense = Path(shutil.copytree(base, tmp_path / "dense"))
    weights = load_file(dense / "model.safetensors")
    renamed = {
        n.replace(".mlp.experts.0.", ".mlp."): w for n, w in weights.items() if not n.endswith("mlp.gate.weight")
    }
    save_file(renamed, dense / "model.safetensors")
    config = json.loads((dense / "config.json").read_text())
    config |= {"model_type": "olmo2", "architectures": ["Olmo2ForCausalLM"]}
    for name in ("num_experts", "num_experts_per_tok"):
        del config[name]
    (dense / "config.json").write_text(json.dumps(config))
    (dense / "experts.json").unlink()
    with pytest.raises(TrainingError, match="no router row"):
        stages.train_contribution(dense, texts_about("swan"), owner("swan"), tmp_path / "swan", RUN)
    stages.train_contribution(
        dense, texts_about("swan"), owner("swan"), tmp_path / "swan", RUN, public_texts=texts_about("horse")
    )
    stages.merge_experts(dense, [tmp_path / "swan"], tmp_path / "merged")
    assert load_checkpoint(tmp_path / "merged", device="cpu").expert_slugs == ("public", "swan")


def test_evaluation_measures_every_mask_and_domain(base: Path, sent: dict[str, Path], tmp_path: Path) -> None:
    stages.merge_experts(base, list(sent.values()), tmp_path / "merged")
    words = ("horse", "swan", "rocket")
    tables = stages.evaluate_experts(tmp_path / "merged", {w: texts_about(w) for w in words}, device="cpu")
    assert [title for title, _ in tables.losses][:2] == ["public only", "public + swan"]
    assert all(sum(shares) == pytest.approx(1, abs=1e-4) for _, shares in tables.routing)
    last, rate = tables.losses[0][1][2], tables.tokens_per_byte[2]
    assert f"| {last * rate:.2f} |\n| public + swan" in tables.to_markdown()


def test_whole_demonstration_goes_on_from_its_folder_and_writes_its_card(tmp_path: Path) -> None:
    words = ("public", "swan")
    texts = {"public": texts_about("horse"), "swan": texts_about("swan")}
    plan = DemoPlan(base_steps=2, expert_steps=2, shape=SHAPE, rows=4, device="cpu")
    tables = train_demo(texts, [PUBLIC, owner("swan")], tmp_path / "work", tmp_path / "out", plan, lambda _: None)
    assert "| public only |" in tables
    assert tables in (tmp_path / "out" / "README.md").read_text()
    assert load_checkpoint(tmp_path / "out", device="cpu").expert_slugs == words
    assert (
        train_demo(texts, [PUBLIC, owner("swan")], tmp_path / "work", tmp_path / "again", plan, lambda _: None)
        == tables
    )
