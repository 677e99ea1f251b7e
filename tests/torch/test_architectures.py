"""Eighteen architectures of Transformers, tiny and random: their losses and gradients, accelerated, are their own."""

import copy

import pytest

torch = pytest.importorskip("torch", reason="the PyTorch face needs torch")
transformers = pytest.importorskip("transformers", reason="accelerate changes models of transformers")

from chainrule.errors import InputError  # noqa: E402
from chainrule.torch import accelerate  # noqa: E402

SIZES = {
    "vocab_size": 97, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 32, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
NO_DROPOUT = {"hidden_dropout": 0.0, "attention_dropout": 0.0}
MODELS = {
    "Llama": {},
    "Mistral": {},
    "Mixtral": {"num_local_experts": 2, "num_experts_per_tok": 1},
    "Qwen2": {},
    "Qwen3": {"head_dim": 8},
    "Gemma": {"head_dim": 8},
    "Gemma2": {"head_dim": 8, "final_logit_softcapping": 3.0},
    "Cohere": {"logit_scale": 0.25},
    "Cohere2": {"logit_scale": 0.5, "head_dim": 8},
    "Granite": {"logits_scaling": 4.0},
    "Phi": {"num_key_value_heads": 2},
    "Phi3": {"num_key_value_heads": 2},
    "Starcoder2": {},
    "StableLm": {},
    "Olmo2": {},
    "GPTNeoX": NO_DROPOUT,
    "Falcon": NO_DROPOUT | {"new_decoder_architecture": False, "multi_query": True},
    "OPT": {"ffn_dim": 24, "word_embed_proj_dim": 16, "dropout": 0.0},
}


def made(name):
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SIZES | MODELS[name])
    return getattr(transformers, f"{name}ForCausalLM")(config).eval()


def batch():
    tokens = torch.randint(1, 97, (2, 9), generator=torch.Generator().manual_seed(1))
    labels = tokens.clone()
    labels[0, :3] = -100
    return tokens, labels


def gradients(model, **given):
    model.zero_grad()
    output = model(**given)
    output.loss.backward()
    return output, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_are_its_own(name):
    model = made(name)
    fast = accelerate(copy.deepcopy(model))
    tokens, labels = batch()
    for more in ({}, {"num_items_in_batch": 11}):
        theirs, wanted = gradients(model, input_ids=tokens, labels=labels, **more)
        ours, got = gradients(fast, input_ids=tokens, labels=labels, **more)
        torch.testing.assert_close(ours.loss, theirs.loss, rtol=1e-6, atol=0)
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)
        assert ours.logits is None
    with torch.no_grad():
        assert torch.equal(fast(tokens).logits, model(tokens).logits)
        assert torch.equal(fast(tokens, labels=labels).logits, model(tokens, labels=labels).logits)


@pytest.mark.parametrize("name", ["Llama", "Gemma2"])
def test_accumulated_gradients_are_the_whole_batchs(name):
    """num_items_in_batch: sums divided by the items of all steps, whatever each step's own number."""
    tokens, labels = batch()
    labels[1, 2:] = -100  # the second half has far fewer
    fast = accelerate(made(name))
    _, whole = gradients(fast, input_ids=tokens, labels=labels)
    count = int((labels[:, 1:] != -100).sum())
    fast.zero_grad()
    for half in (slice(0, 1), slice(1, 2)):
        fast(input_ids=tokens[half], labels=labels[half], num_items_in_batch=torch.tensor(count)).loss.backward()
    for key, parameter in fast.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, whole[key], rtol=1e-4, atol=1e-7)


def test_a_model_that_shifts_by_itself():
    """As models of Transformers 4.46 do: they drop the last token's logits and call PyTorch's own loss."""

    class Older(transformers.GraniteForCausalLM):
        def forward(self, input_ids=None, labels=None):
            logits = self.lm_head(self.model(input_ids)[0]) / self.config.logits_scaling
            shifted = logits.float()[..., :-1, :].contiguous().view(-1, self.config.vocab_size)
            loss = torch.nn.CrossEntropyLoss(**self.own)(shifted, labels[..., 1:].contiguous().view(-1))
            return transformers.modeling_outputs.CausalLMOutput(loss=loss, logits=logits)

    Older.own = {}
    tokens, labels = batch()
    model = Older(made("Granite").config).eval()
    fast = accelerate(copy.deepcopy(model))
    theirs, wanted = gradients(model, input_ids=tokens, labels=labels)
    ours, got = gradients(fast, input_ids=tokens, labels=labels)
    torch.testing.assert_close(ours.loss, theirs.loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)
    assert ours.logits is None
    Older.own = {"label_smoothing": 0.1}
    with pytest.raises(InputError, match="model: computes its loss with options of its own"):
        fast(tokens, labels=labels)


def test_logits_to_keep():
    tokens, labels = batch()
    model = made("Gemma2")
    fast = accelerate(copy.deepcopy(model))
    with torch.no_grad():
        assert fast(tokens, logits_to_keep=2).logits.shape == (2, 2, 97)
    theirs, wanted = gradients(model, input_ids=tokens, labels=labels[:, -4:], logits_to_keep=4)
    ours, got = gradients(fast, input_ids=tokens, labels=labels[:, -4:], logits_to_keep=4)
    torch.testing.assert_close(ours.loss, theirs.loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


class LowRank(torch.nn.Module):
    """A linear layer with an adapter, of PEFT's own parts and names."""

    def __init__(self, base, dropout):
        super().__init__()
        self.base_layer, self.active_adapters, self.scaling = base, ["default"], {"default": 0.5}
        self.disable_adapters = self.merged = False
        self.lora_dropout = torch.nn.ModuleDict({"default": torch.nn.Dropout(dropout)})
        self.lora_A = torch.nn.ModuleDict({"default": torch.nn.Linear(base.in_features, 3, bias=False)})
        self.lora_B = torch.nn.ModuleDict({"default": torch.nn.Linear(3, base.out_features, bias=False)})
        base.requires_grad_(False)
        torch.nn.init.normal_(self.lora_B["default"].weight)

    def forward(self, x):
        result = self.base_layer(x)
        if self.disable_adapters:
            return result
        low = self.lora_A["default"](self.lora_dropout["default"](x))
        return result + self.lora_B["default"](low) * self.scaling["default"]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("first", ["accelerated", "adapted"])
def test_lora_on_the_last_layer_trains(first, dropout):
    tokens, labels = batch()
    model = made("Gemma2")
    model.lm_head = LowRank(torch.nn.Linear(16, 97, bias=False), dropout)
    fast = copy.deepcopy(model)
    if first == "accelerated":
        fast.lm_head, adapted = fast.lm_head.base_layer, fast.lm_head
        fast = accelerate(fast)
        adapted.base_layer = fast.lm_head
        fast.lm_head = adapted
    else:
        fast = accelerate(fast)
    for each in (model, fast):
        each.lm_head.train()
    found = []
    for each in (model, fast):
        torch.manual_seed(5)  # for the dropout
        found.append(gradients(each, input_ids=tokens, labels=labels))
    (theirs, wanted), (ours, got) = found
    torch.testing.assert_close(ours.loss, theirs.loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)
    assert got["lm_head.lora_A.default.weight"].any()
    assert got["lm_head.lora_B.default.weight"].any()
    fast.lm_head.disable_adapters = model.lm_head.disable_adapters = True
    torch.testing.assert_close(fast(tokens, labels=labels).loss, model(tokens, labels=labels).loss, rtol=1e-6, atol=0)
    other = copy.deepcopy(fast)
    torch.testing.assert_close(other(tokens, labels=labels).loss, fast(tokens, labels=labels).loss)


class Saved(torch.nn.Module):
    """A layer whose copy is trained in its place, of PEFT's own parts and names (`modules_to_save`)."""

    def __init__(self, base):
        super().__init__()
        self.original_module, self.active_adapters, self.disable_adapters = base, ["default"], False
        self.modules_to_save = torch.nn.ModuleDict({"default": copy.deepcopy(base)})
        base.requires_grad_(False)
        torch.nn.init.normal_(self.modules_to_save["default"].weight)

    def forward(self, x):
        return self.original_module(x) if self.disable_adapters else self.modules_to_save["default"](x)


class Around(torch.nn.Module):
    """A model around another, as PEFT's."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def get_base_model(self):
        return self.model

    def forward(self, *args, **kwargs):
        return self.model(*args, **kwargs)


def test_a_last_layer_that_is_trained_in_a_copy_within_another_model():
    tokens, labels = batch()
    model = made("Llama")
    model.lm_head = Saved(torch.nn.Linear(16, 97, bias=False))
    fast = Around(copy.deepcopy(model))
    assert accelerate(fast) is fast
    theirs, wanted = gradients(model, input_ids=tokens, labels=labels)
    ours, got = gradients(fast, input_ids=tokens, labels=labels)
    assert ours.logits is None
    torch.testing.assert_close(ours.loss, theirs.loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(got, {f"model.{name}": g for name, g in wanted.items()}, rtol=1e-4, atol=1e-6)
    assert got["model.lm_head.modules_to_save.default.weight"].any()
    fast.model.lm_head.disable_adapters = model.lm_head.disable_adapters = True
    found = [each(tokens, labels=labels) for each in (fast, model)]
    torch.testing.assert_close(found[0].loss, found[1].loss, rtol=1e-6, atol=0)
    assert found[0].logits is None


def test_a_parametrized_last_layer():
    tokens, labels = batch()
    model = made("Llama")
    torch.nn.utils.parametrizations.weight_norm(model.lm_head)
    fast = accelerate(copy.deepcopy(model))
    theirs, wanted = gradients(model, input_ids=tokens, labels=labels)
    ours, got = gradients(fast, input_ids=tokens, labels=labels)
    torch.testing.assert_close(ours.loss, theirs.loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)
