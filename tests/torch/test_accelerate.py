"""chainrule.torch.accelerate: tiny random models from their config classes give the original's loss and gradients."""

import copy
import importlib
import inspect
import io

import pytest

torch = pytest.importorskip("torch", reason="the PyTorch face needs torch")
transformers = pytest.importorskip("transformers", reason="accelerate changes models of transformers")

from chainrule.errors import InputError  # noqa: E402
from chainrule.torch import accelerate  # noqa: E402

accelerator = importlib.import_module("chainrule.torch.accelerate")

# PyTorch's compiler scripts what it has deprecated itself
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning")


def llama(**more):
    sizes = {"vocab_size": 97, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 32}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **heads, **more))


def gpt2(**more):
    sizes = {"vocab_size": 97, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
    dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, **dropout, **ends, **more))


MODELS = {
    "Llama": llama,
    "Llama, tied": lambda: llama(tie_word_embeddings=True),
    "GPT-2": gpt2,
    "GPT-2, untied": lambda: gpt2(tie_word_embeddings=False),
}


def tiny(kind, config, **more):
    sizes = {"vocab_size": 97, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 32}
    torch.manual_seed(0)
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = getattr(transformers, config)(**sizes | heads | ends | more)
    return (kind if inspect.isclass(kind) else getattr(transformers, kind))(config).eval()


def pair(name, dtype=torch.float32):
    torch.manual_seed(0)
    model = MODELS[name]().to(dtype)
    return model, accelerate(copy.deepcopy(model))


def inputs():
    tokens = torch.randint(97, (3, 11), generator=torch.Generator().manual_seed(1))
    labels = tokens.clone()
    labels[0, :4], labels[2, 7:] = -100, -100
    return tokens, labels


def gradients(model, **given):
    model.zero_grad()
    output = model(**given)
    output.loss.backward()
    return output, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("more", [{}, {"num_items_in_batch": 7}, {"num_items_in_batch": torch.tensor(7)}], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_are_the_originals(name, more):
    original, fast = pair(name)
    tokens, labels = inputs()
    (theirs, wanted), (ours, got) = (
        gradients(model, input_ids=tokens, labels=labels, **more) for model in (original, fast)
    )
    torch.testing.assert_close(ours.loss, theirs.loss, rtol=1e-6, atol=0)
    assert ours.logits is None
    assert "logits" not in ours
    assert got.keys() == wanted.keys()
    for key in wanted:  # to a few units of float32's last place of the largest
        close = 1e-5 * float(wanted[key].abs().max())
        torch.testing.assert_close(got[key], wanted[key], rtol=0, atol=close)


@pytest.mark.parametrize("name", MODELS)
def test_nearer_the_truth_than_float32_rounding(name):
    """The gradients of the float32 model lie near those of the same model in float64."""
    _, fast = pair(name)
    exact, _ = pair(name, torch.float64)
    tokens, labels = inputs()
    (_, wanted), (_, got) = (gradients(model, input_ids=tokens, labels=labels) for model in (exact, fast))
    for key in wanted:
        error = (got[key].double() - wanted[key]).abs().max()
        assert error <= 1e-5 * wanted[key].abs().max()


@pytest.mark.parametrize("name", MODELS)
def test_without_labels_nothing_is_different(name):
    original, fast = pair(name)
    tokens, _ = inputs()
    with torch.no_grad():
        assert torch.equal(fast(input_ids=tokens).logits, original(input_ids=tokens).logits)


def test_tuples_and_twice():
    original, fast = pair("GPT-2")
    tokens, labels = inputs()
    assert accelerate(fast) is fast
    loss = fast(input_ids=tokens, labels=labels, return_dict=False, use_cache=False)[0]
    torch.testing.assert_close(loss, original(input_ids=tokens, labels=labels).loss, rtol=1e-6, atol=0)


def test_logits_are_never_stored():
    """The head's product is not there: no tensor with a dimension of the vocabulary but the weights' own."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Shapes(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.seen = set()

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.untyped_storage().nbytes() >= 4 * result.numel():
                self.seen.add(tuple(result.shape))
            return result

    tokens, labels = inputs()
    kept = []
    for model in pair("Llama"):
        with Shapes() as shapes:
            model(input_ids=tokens, labels=labels).loss.backward()
        kept.append({shape for shape in shapes.seen if shape[-1:] == (97,) and shape[0] != 16})
    assert kept[0]
    assert not kept[1]


def test_copies_compute_with_their_own_weights():
    """Deep copies, as an average of weights keeps one, pickles, and copies of copies."""
    tokens, labels = inputs()
    for name in ("Llama", "Llama, tied"):
        _, fast = pair(name)
        buffer = io.BytesIO()
        torch.save(copy.deepcopy(fast), buffer)
        buffer.seek(0)
        for other in (copy.deepcopy(fast), torch.load(buffer, weights_only=False)):
            assert type(other) is type(fast)
            torch.testing.assert_close(fast(tokens, labels=labels).loss, other(tokens, labels=labels).loss)
            with torch.no_grad():
                for parameter in other.parameters():
                    parameter.zero_()  # all logits are 0
            output = other(tokens, labels=labels)
            assert output.loss.item() == pytest.approx(torch.tensor(97.0).log().item())
            output.loss.backward()
            assert all(parameter.grad is None for parameter in fast.parameters())


def test_the_model_is_what_it_was_but_for_the_loss(tmp_path):
    original, fast = pair("Llama")
    tokens, labels = inputs()
    assert type(fast).__name__ == type(original).__name__
    assert inspect.signature(fast.forward) == inspect.signature(original.forward)
    assert repr(fast) == repr(original)
    assert fast.state_dict().keys() == original.state_dict().keys()
    assert fast.loss_function(original(tokens).logits, labels, 97) == original(tokens, labels=labels).loss
    fast.save_pretrained(tmp_path)
    torch.testing.assert_close(
        transformers.LlamaForCausalLM.from_pretrained(tmp_path)(tokens, labels=labels).loss,
        original(tokens, labels=labels).loss,
    )
    for model in (original, fast):
        torch.manual_seed(1)
        model.resize_token_embeddings(101, mean_resizing=False)
    torch.testing.assert_close(fast(tokens, labels=labels).loss, original(tokens, labels=labels).loss)


def test_other_labels_than_the_model_was_called_with_are_refused():
    class Moving(transformers.LlamaForCausalLM):
        def forward(self, input_ids=None, labels=None, **kwargs):
            return super().forward(input_ids, labels=labels.clone(), **kwargs)

    class Weighing(transformers.LlamaForCausalLM):
        def forward(self, input_ids=None, labels=None, **kwargs):
            return super().forward(input_ids, labels=labels, num_items_in_batch=3, **kwargs)

    tokens, labels = inputs()
    for kind in (Moving, Weighing):
        model = accelerate(tiny(kind, "LlamaConfig"))
        with pytest.raises(InputError, match="model: computes its loss from other labels than it was called with"):
            model(tokens, labels=labels)


def test_what_the_model_adds_to_its_loss_stays():
    experts = {"num_local_experts": 2, "num_experts_per_tok": 1, "output_router_logits": True}
    model = tiny("MixtralForCausalLM", "MixtralConfig", **experts, router_aux_loss_coef=0.5)
    tokens, labels = inputs()
    wanted = model(tokens, labels=labels)
    output = accelerate(model)(tokens, labels=labels)
    assert wanted.aux_loss > 0.1
    torch.testing.assert_close(output.loss, wanted.loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(output.aux_loss, wanted.aux_loss)


def test_a_model_within_another():
    """A teacher that an accelerated student asks in its own forward gives its logits."""
    teacher = accelerate(llama())
    tokens, labels = inputs()

    class Student(transformers.LlamaForCausalLM):
        def forward(self, input_ids=None, labels=None):
            self.seen = teacher(input_ids).logits
            return super().forward(input_ids, labels=labels)

    student = accelerate(Student(teacher.config))
    student(tokens, labels=labels)
    assert torch.equal(student.seen, teacher(tokens).logits)


@pytest.mark.parametrize("kind", ["OPT", "Phi", "Mistral"])
def test_other_models(kind):
    more = {"ffn_dim": 24, "word_embed_proj_dim": 16, "dropout": 0.0} if kind == "OPT" else {}
    model = tiny(f"{kind}ForCausalLM", f"{kind}Config", **more)
    tokens, labels = inputs()
    theirs, wanted = gradients(model, input_ids=tokens, labels=labels)
    wanted = {name: grad.clone() for name, grad in wanted.items()}
    ours, got = gradients(accelerate(model), input_ids=tokens, labels=labels)
    torch.testing.assert_close(ours.loss, theirs.loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


def test_compiled():
    _, fast = pair("Llama")
    tokens, labels = inputs()
    compiled = torch.compile(fast, fullgraph=True, backend="aot_eager")  # inductor: tests/torch/test_programs.py
    eager, wanted = gradients(fast, input_ids=tokens, labels=labels, num_items_in_batch=7)
    wanted = {name: grad.clone() for name, grad in wanted.items()}
    fast.zero_grad()
    output = compiled(input_ids=tokens, labels=labels, num_items_in_batch=7)
    output.loss.backward()
    assert output.logits is None
    torch.testing.assert_close(output.loss, eager.loss, rtol=1e-6, atol=0)
    for name, parameter in fast.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name], rtol=1e-4, atol=1e-6)


def test_exported_and_called_as_a_function():
    _, fast = pair("Llama")
    tokens, labels = inputs()
    given = {"input_ids": tokens, "labels": labels, "use_cache": False}
    wanted = fast(**given).loss
    exported = torch.export.export(fast.eval(), (), given, strict=False)
    torch.testing.assert_close(exported.module()(**given).loss, wanted, rtol=1e-6, atol=0)
    parameters = dict(fast.named_parameters())
    grads = torch.func.grad(lambda p: torch.func.functional_call(fast, p, (), given).loss)(parameters)
    for name, grad in zip(parameters, torch.autograd.grad(wanted, list(parameters.values())), strict=True):
        torch.testing.assert_close(grads[name], grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("Gemma2", {"head_dim": 8, "final_logit_softcapping": 2.0}),
        ("Cohere", {"logit_scale": 0.25}),
        ("Granite", {"logits_scaling": 4.0}),
    ],
    ids=str,
)
def test_capped_and_multiplied_logits(kind, more):
    """Loss and gradients are the original's; without labels, and in evaluation, so are the logits."""
    model = tiny(f"{kind}ForCausalLM", f"{kind}Config", **more)
    fast = accelerate(copy.deepcopy(model))
    tokens, labels = inputs()
    theirs, wanted = gradients(model, input_ids=tokens, labels=labels)
    ours, got = gradients(fast, input_ids=tokens, labels=labels)
    torch.testing.assert_close(ours.loss, theirs.loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)
    assert ours.logits is None
    assert torch.equal(fast(tokens).logits, model(tokens).logits)
    with torch.no_grad():  # as compute_metrics needs them
        assert torch.equal(fast(tokens, labels=labels).logits, model(tokens, labels=labels).logits)
    # a form that the configuration does not tell is written down as the model applies it
    name = {"Gemma2": "final_logit_softcapping", "Cohere": "logit_scale", "Granite": "logits_scaling"}[kind]
    fast.zero_grad()
    form = accelerator._form_of(fast)
    assert form != (1.0, 0.0), name
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accelerator, "_form_of", lambda _: (1.0, 0.0))
        again, got = gradients(fast, input_ids=tokens, labels=labels)
    torch.testing.assert_close(again.loss, theirs.loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # Dynamo looks
def test_logits_changed_in_place_or_read_are_refused():
    class Changing(transformers.LlamaForCausalLM):
        change = None

        def forward(self, input_ids=None, labels=None):
            logits = self.lm_head(self.model(input_ids)[0])
            logits = self.change(logits)
            loss = self.loss_function(logits, labels, 97)
            return transformers.modeling_outputs.CausalLMOutput(loss=loss, logits=logits)

    def masked(logits):
        logits[..., 3] = -5.0
        return logits

    tokens, labels = inputs()
    model = tiny(Changing, "LlamaConfig")
    accelerate(model)
    for change in (masked, lambda a: a.div_(2), lambda a: a[..., :5], lambda a: a + a.logsumexp(-1, keepdim=True)):
        Changing.change = staticmethod(change)
        with pytest.raises(InputError, match="model: reads or changes its logits"):
            model(tokens, labels=labels)
    Changing.change = staticmethod(lambda logits: torch.zeros(3, 11, 97))
    with pytest.raises(InputError, match="computes its loss from other logits than its last"):
        model(tokens, labels=labels)
    Changing.change = staticmethod(masked)
    with pytest.raises((InputError, RuntimeError), match="model: reads or changes its logits"):
        torch.compile(model)(tokens, labels=labels)


def test_refused():
    with pytest.raises(InputError, match="model: got Linear, expected a causal language model"):
        accelerate(torch.nn.Linear(2, 2))
    config = transformers.GPT2Config(vocab_size=97, n_embd=16, n_layer=1, n_head=2, num_labels=2)
    with pytest.raises(InputError, match="model: got "):
        accelerate(transformers.GPT2ForSequenceClassification(config))
    model = llama()
    model.loss_function = lambda **_: 0
    with pytest.raises(InputError, match="expected the library's ForCausalLMLoss"):
        accelerate(model)
    model = llama()
    model.forward = lambda *_: 0  # as hooks put one there
    with pytest.raises(InputError, match="a forward put in the place of its class's"):
        accelerate(model)
    model = accelerate(llama())
    with pytest.raises(InputError, match=r"loss_function: got .*expected one set before accelerate"):
        model.loss_function = print
    model.lm_head = torch.nn.Sequential(model.lm_head)
    tokens, labels = inputs()
    with pytest.raises(InputError, match="whose head has become a Sequential"):
        model(tokens, labels=labels)
