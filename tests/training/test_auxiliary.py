"""An auxiliary head trains beside the classifier and is not in the finished model."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny import teaching
from torchvision.models import resnet

from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.networks.saved import load_model
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import NetworkConfig
from adapt.training.train import train


@pytest.mark.parametrize("name", ["pspnet_resnet50", "fcn_resnet50"])
def test_the_auxiliary_head_adds_its_loss_and_is_dropped(
    name: str, tmp_path: Path, camvid_tree, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    whole = resnet._resnet
    monkeypatch.setattr(
        resnet, "_resnet", lambda block, layers, *rest, **k: whole(block, [1] * 4, *rest, **k)
    )
    camvid_tree(tmp_path / "d1")
    network = NetworkConfig(name, auxiliary=0.4)
    config = teaching(tmp_path, network=network, steps=1)
    run = train(config)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    main, head = (lines[0]["parts"][f"{k}/cross_entropy"] for k in ("supervised", "auxiliary"))
    assert head["weighted"] == pytest.approx(0.4 * head["raw"]) and head["raw"] > 0
    assert lines[0]["loss"] == pytest.approx(main["raw"] + head["weighted"])
    assert not any(k.startswith("aux_classifier") for k in load_file(run / "model.safetensors"))
    assert load_model(run).network == NetworkConfig(name)
    assert evaluate(EvaluateConfig("cpu", run=str(run))).is_file()
    with pytest.raises(InputError, match=r"auxiliary: 0\.0 -> 0\.4"):
        train(teaching(tmp_path, run=str(tmp_path / "b2"), start=str(run), network=network))
