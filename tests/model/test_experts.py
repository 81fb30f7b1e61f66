"""Experts against a loop over experts, and the balance of their loads."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ernest.model.dispatch import LocalDispatch
from ernest.model.experts import Experts, grouped_experts
from ernest.model.experts_cpu import BlockedExperts, GatherBlocks, SumChoices, lay_out
from ernest.model.experts_native import ExpertsAtOnce, usable
from ernest.model.router import count_load, route_in_turn

WIDTH, HIDDEN, EXPERTS, TOP_K, TOKENS = 32, 16, 96, 2, 300


def loop(x: Tensor, gate: Tensor, chosen: Tensor, w_gate_up: Tensor, w_down: Tensor) -> Tensor:
    """The definition: every expert on the tokens that chose it."""
    y = torch.zeros_like(x)
    for expert in range(len(w_gate_up)):
        token, place = (chosen == expert).nonzero(as_tuple=True)
        a, b = (x[token] @ w_gate_up[expert]).chunk(2, dim=-1)
        y = y.index_add(0, token, gate[token, place, None] * (F.silu(a) * b @ w_down[expert]))
    return y


def blocked(x: Tensor, gate: Tensor, chosen: Tensor, w_gate_up: Tensor, w_down: Tensor) -> Tensor:
    """The training path of a CPU."""
    blocks = lay_out(chosen, len(w_gate_up))
    rows, scale = GatherBlocks.apply(x, gate, blocks)
    return SumChoices.apply(BlockedExperts.apply(rows, scale, w_gate_up, w_down, blocks), blocks)


def grouped(x: Tensor, gate: Tensor, chosen: Tensor, w_gate_up: Tensor, w_down: Tensor) -> Tensor:
    """The path of a GPU, and of a CPU that does not train."""
    dispatch = LocalDispatch(len(w_gate_up))
    with torch.no_grad():
        _, _, layout = dispatch(x, gate, chosen)
    row = layout.row_Tk.reshape(-1).argsort()
    out = grouped_experts(x[row // chosen.shape[1]], gate.reshape(-1)[row], w_gate_up, w_down, layout.ends_N)
    return dispatch.combine(out, layout)


def compiled(x: Tensor, gate: Tensor, chosen: Tensor, w_gate_up: Tensor, w_down: Tensor) -> Tensor:
    """The training path of a CPU with a compiler."""
    if not usable(x, w_gate_up, w_down):
        pytest.skip("no C++ compiler")
    return ExpertsAtOnce.apply(x, gate, chosen, w_gate_up, w_down)


def pool(experts: int = EXPERTS, top_k: int = TOP_K, seed: int = 0) -> Experts:
    torch.manual_seed(seed)
    made = Experts(WIDTH, experts, HIDDEN, top_k)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=WIDTH**-0.5)
    return made


def tokens(count: int = TOKENS, seed: int = 1) -> Tensor:
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed))


def with_gradients(function, chosen, *inputs):
    inputs = [value.detach().clone().requires_grad_() for value in inputs]
    x, gate, w_gate_up, w_down = inputs
    y = function(x, gate, chosen, w_gate_up, w_down)
    (y.float() * torch.linspace(-1, 2, WIDTH)).sum().backward()
    return [y.detach(), *(value.grad for value in inputs)]


def close(found: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> bool:
    found, wanted = found.detach(), wanted.detach()
    return float((found - wanted).abs().max()) <= tolerance * max(1.0, float(wanted.abs().max()))


@pytest.mark.parametrize("function", [blocked, grouped, compiled])
@pytest.mark.parametrize("kind", ["spread", "one expert takes all", "most experts empty"])
def test_equals_the_loop_with_gradients(function, kind):
    experts = pool()
    x = tokens()
    gate, chosen = experts.router(x)
    if kind == "one expert takes all":
        chosen = torch.tensor([5, 7]).expand(TOKENS, 2).contiguous()
    if kind == "most experts empty":
        chosen = chosen % 3 + torch.tensor([0, 50])
    inputs = x, gate.detach(), experts.w_gate_up, experts.w_down
    for found, wanted in zip(with_gradients(function, chosen, *inputs), with_gradients(loop, chosen, *inputs), strict=True):
        assert close(found, wanted)


@pytest.mark.parametrize("tokens_of", [1, 5, 193, 700])
@pytest.mark.parametrize(("width", "hidden"), [(16, 16), (48, 80)])
def test_kernels_take_any_number_of_rows(tokens_of, width, hidden):
    """Against the loop: rows that fill no tile, widths of every number of vectors, an expert of more rows than a chunk, gates of
    zero, whose choices are left out."""
    generator = torch.Generator().manual_seed(tokens_of)
    x, w_gate_up, w_down = (
        torch.randn(shape, generator=generator) * 0.3
        for shape in ((tokens_of, width), (3, width, 2 * hidden), (3, hidden, width))
    )
    chosen = torch.tensor([[1, 2], [1, 0], [1, 2]])[torch.arange(tokens_of) % 3]
    gate = torch.rand(tokens_of, 2, generator=generator)
    gate[::4, 1] = 0.0
    inputs = x, gate, w_gate_up, w_down
    weights = torch.linspace(-1, 2, width)
    results = []
    for function in (compiled, loop):
        leaves = [value.clone().requires_grad_() for value in inputs]
        y = function(leaves[0], leaves[1], chosen, *leaves[2:])
        results.append((y.detach(), *torch.autograd.grad((y * weights).sum(), leaves)))
    (y, x_grad, gate_grad, *found), (y_loop, x_loop, gate_loop, *wanted) = results
    assert close(y, y_loop)
    assert close(x_grad, x_loop)
    assert close(gate_grad, gate_loop * (gate > 0))
    assert all(map(close, found, wanted))


@pytest.mark.parametrize("tokens_of", [1, 33, 500])
def test_products_in_bfloat16_stay_near(tokens_of):
    """Sizes that tiles take, where the processor has them: an expert of two chunks, one without rows, choices left out."""
    generator = torch.Generator().manual_seed(tokens_of)
    shapes = (tokens_of, 64), (4, 64, 192), (4, 96, 64)
    x, w_gate_up, w_down = (torch.randn(shape, generator=generator) * 0.3 for shape in shapes)
    chosen = torch.tensor([[1, 2], [1, 0], [1, 2]])[torch.arange(tokens_of) % 3]
    gate = torch.rand(tokens_of, 2, generator=generator)
    gate[::4, 1] = 0.0
    results = []
    for function, narrow in ((compiled, True), (loop, False)):
        leaves = [value.clone().requires_grad_() for value in (x, gate, w_gate_up, w_down)]
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            y = function(leaves[0], leaves[1], chosen, *leaves[2:])
        x_grad, gate_grad, *grads = torch.autograd.grad((y * torch.linspace(-1, 2, 64)).sum(), leaves)
        results.append((y.detach(), x_grad, gate_grad * (gate > 0), *grads))
    for found, wanted in zip(*results, strict=True):
        assert float((found - wanted).norm() / wanted.norm()) < 0.02


def test_gradients_are_numerically_right():
    """The gradient by hand against finite differences, in double precision."""
    generator = torch.Generator().manual_seed(0)
    x, gate, w_gate_up, w_down = (
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in ((5, 4), (5, 2), (3, 4, 6), (3, 3, 4))
    )
    chosen = torch.tensor([[0, 2], [2, 0], [2, 1], [0, 1], [2, 0]])
    assert torch.autograd.gradcheck(
        lambda *inputs: blocked(inputs[0], inputs[1], chosen, *inputs[2:]), (x, gate, w_gate_up, w_down)
    )


def test_bfloat16_stays_near_and_gradients_of_matrices_are_wide(either_way):
    experts = pool()
    x = tokens().requires_grad_()
    wanted = experts(x)[0].detach()
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = experts(x)
    assert found.dtype == (torch.float32 if either_way == "compiled" else torch.bfloat16)
    assert float((found.detach() - wanted).norm() / wanted.norm()) < 0.02
    found.float().sum().backward()
    assert experts.w_gate_up.grad.dtype == torch.float32
    assert x.grad.dtype == torch.float32


@pytest.mark.usefixtures("either_way")
def test_dense_reference_and_sparsity():
    """All experts on all tokens, weighted by gates that are zero for the experts that were not chosen: 2 of 96 are active."""
    experts = pool()
    x = tokens()
    gate, chosen = experts.router(x)
    weight = torch.zeros(TOKENS, EXPERTS).scatter(1, chosen, gate)
    a, b = torch.einsum("td,ndh->tnh", x, experts.w_gate_up).chunk(2, dim=-1)
    dense = torch.einsum("tnh,nhd,tn->td", F.silu(a) * b, experts.w_down, weight)
    y, router_output = experts(x, torch.ones(TOKENS, dtype=torch.bool))
    assert close(y, dense)
    assert router_output.load[0].sum() == TOP_K * TOKENS
    assert pytest.approx(0.0208, abs=1e-4) == TOP_K / EXPERTS


def test_no_choice_is_dropped():
    """Every choice has a row of its own, and rows hold the token of their choice."""
    chosen = torch.zeros(TOKENS, 2, dtype=torch.long)
    chosen[:, 1] = 1 + torch.arange(TOKENS) % 3
    blocks = lay_out(chosen, EXPERTS)
    assert blocks.row_Tk.unique().numel() == 2 * TOKENS
    assert torch.equal(blocks.token_M[blocks.row_Tk], torch.arange(TOKENS)[:, None].expand(-1, 2))
    assert sorted(blocks.order) == list(range(EXPERTS))
    heights = [height for members, height in blocks.groups for _ in range(members)]
    owner = torch.tensor(blocks.order).repeat_interleave(torch.tensor(heights))
    assert torch.equal(owner[blocks.row_Tk], chosen)


@pytest.mark.usefixtures("either_way")
def test_training_and_inference_paths_agree():
    experts = pool()
    trained, _ = experts(tokens())
    with torch.no_grad():
        assert close(experts(tokens())[0], trained)


def test_bias_changes_the_choice_and_never_the_gates():
    experts, x = pool(), tokens()
    gate, chosen = experts.router(x)
    experts.router.selection_bias += 3.0
    same_gate, same = experts.router(x)
    assert torch.equal(chosen.sort(dim=1).values, same.sort(dim=1).values)
    assert close(same_gate.sum(dim=1), gate.sum(dim=1))
    assert close(experts(x)[0], loop(x, gate, chosen, experts.w_gate_up, experts.w_down))
    experts.router.selection_bias[7] += 10.0
    gate, chosen = experts.router(x)
    assert bool((chosen[:, 0] == 7).all())
    score = F.linear(x, experts.router.weight).softmax(dim=-1).gather(1, chosen)
    assert close(gate, score / score.sum(dim=1, keepdim=True))
    gate.sum().backward()
    assert experts.router.selection_bias.grad is None


def test_router_sees_the_hidden_state_alone():
    """Equal hidden states are routed alike bit for bit, wherever they stand and whatever stands beside them."""
    experts, x = pool(), tokens()
    order = torch.randperm(TOKENS, generator=torch.Generator().manual_seed(2))
    gate, chosen = experts.router(x)
    other_gate, other = experts.router(x[order])
    assert torch.equal(other, chosen[order])
    assert torch.equal(other_gate, gate[order])


@pytest.mark.usefixtures("either_way")
def test_elastic_masks_and_smaller_k():
    """Forbidden experts are neither chosen nor trained; a token with k = 1 gives its one expert gate 1."""
    experts, x = pool(), tokens()
    allowed = torch.zeros(TOKENS, EXPERTS, dtype=torch.bool)
    allowed[: TOKENS // 2, :40], allowed[TOKENS // 2 :, 20:60] = True, True
    top_k = torch.tensor([1, 2]).repeat(TOKENS // 2)
    y, router_output = experts(x, torch.ones(TOKENS, dtype=torch.bool), allowed, top_k)
    gate, chosen = experts.router(x, allowed, top_k)
    assert bool(allowed.gather(1, chosen).all())
    assert close(y, loop(x, gate, chosen, experts.w_gate_up, experts.w_down))
    assert torch.equal(gate[top_k == 1], torch.tensor([1.0, 0.0]).expand(TOKENS // 2, 2))
    assert torch.equal(router_output.expert_ids, chosen)
    y.sum().backward()
    trained = experts.w_gate_up.grad.abs().amax(dim=(1, 2)).nonzero()[:, 0]
    assert torch.equal(trained, chosen[gate > 0].unique())
    assert trained.max() < 60
    load, expected_load = router_output.load
    assert load.sum() == top_k.sum()
    assert load.sum() == pytest.approx(float(expected_load.sum()), rel=1e-5)


def test_padding_is_not_counted():
    experts = pool()
    _, router_output = experts(tokens(), torch.arange(TOKENS) < 100)
    assert router_output.load[0].sum() == 2 * 100
    assert router_output.load[1].sum() == pytest.approx(2 * 100)
    assert experts(tokens())[1].load is None


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("trains", [True, False])
def test_no_token_makes_no_row_and_zero_gradients(trains):
    experts = pool()
    x = torch.zeros(0, WIDTH, requires_grad=trains)
    with torch.set_grad_enabled(trains):
        y, router_output = experts(x, torch.zeros(0, dtype=torch.bool))
    assert y.shape == (0, WIDTH)
    assert not router_output.load.any()
    if trains:
        y.sum().backward()
        assert all(p.grad is not None and not p.grad.any() for p in experts.parameters())


@pytest.mark.parametrize("trains", [True, False])
def test_experts_chosen_before_are_taken_again(trains):
    """Whatever the router would choose by now; gates are its own."""
    experts, x = pool(), tokens()
    with torch.set_grad_enabled(trains):
        y, router_output = experts(x)
        experts.router.selection_bias[5] += 10.0
        again, same = experts(x, replay_Tk=router_output.expert_ids)
        other, moved = experts(x)
    assert torch.equal(y, again)
    assert torch.equal(router_output.expert_ids, same.expert_ids)
    assert bool((moved.expert_ids[:, 0] == 5).all())
    assert not torch.equal(y, other)


def test_balance_evens_a_skewed_router_out():
    """The bias moves towards experts that were chosen too seldom, by exactly its speed, until loads are nearly even."""
    experts = pool(experts=16)
    x = tokens(4000) + 0.5
    with torch.no_grad():
        gate, chosen = experts.router(x)
        skewed = torch.bincount(chosen.flatten(), minlength=16)
        for step in range(400):
            before = experts.router.selection_bias.clone()
            _, chosen = experts.router(x)
            load, expected_load = count_load(gate, chosen, torch.ones(4000, dtype=torch.bool), 16)
            low = load < expected_load
            experts.router.balance(load, expected_load, 1e-3 if step < 300 else 1e-4)
            moved = experts.router.selection_bias - before
            assert torch.equal(moved > 0, low)
            assert float(moved.abs().max()) <= 1.01e-3
    even = torch.bincount(chosen.flatten(), minlength=16)
    assert skewed.max() / skewed.float().mean() - 1 > 0.7
    assert even.max() / even.float().mean() - 1 < 0.2


@pytest.mark.parametrize("experts", [6, 12, 48])
def test_a_tie_stays_a_tie_however_processes_share_the_tokens(experts):
    """Expected loads of a 6th, a 12th or a 48th of each token, added up in two processes, are not those of one to the last bit;
    the moves of the biases are."""
    chosen = torch.arange(12 * experts).view(-1, 1) % experts
    chosen[0] = 1  # of two experts the load is no tie
    gate, valid = torch.ones(len(chosen), 1), torch.ones(len(chosen), dtype=torch.bool)
    allowed = torch.ones(len(chosen), experts, dtype=torch.bool)

    def load(part: slice) -> Tensor:
        return count_load(gate[part], chosen[part], valid[part], experts, allowed[part])

    differ = False
    for cut in range(len(chosen)):
        router = pool(experts).router
        counted, expected = shared = load(slice(cut)) + load(slice(cut, None))
        differ |= not torch.equal(shared, load(slice(None)))
        router.balance(counted, expected, 0.5)
        wanted = torch.zeros(experts)
        wanted[0], wanted[1] = 0.5, -0.5
        assert torch.equal(router.selection_bias, wanted), cut
    assert differ


@pytest.mark.parametrize("experts", [7, 16])
def test_routing_in_turn_is_even_whatever_the_scores_are(experts):
    """Over all experts, and over those that tokens may choose, also where some run one expert less."""
    made, x = pool(experts, top_k=3), tokens(40 * experts)
    route_in_turn(made)
    _, free = made.router(x)
    assert torch.bincount(free.flatten(), minlength=experts).tolist() == [3 * 40] * experts
    allowed = torch.zeros(len(x), experts, dtype=torch.bool)
    allowed[:, 1:7:2] = True
    allowed[: len(x) // 2, 4] = True
    sizes = torch.tensor([3, 2]).repeat(len(x) // 2)
    gate, chosen = made.router(x, allowed, sizes)
    assert bool(allowed.gather(1, chosen).all())
    assert all(len(set(row)) == 3 for row in chosen.tolist())
    for half in (slice(len(x) // 2), slice(len(x) // 2, None)):
        for choice in range(3):
            load = torch.bincount(chosen[half, choice], minlength=experts)[allowed[half][0]]
            assert load.max() - load.min() <= 1
    score = F.linear(x, made.router.weight).masked_fill(~allowed, -torch.inf).softmax(dim=-1).gather(1, chosen)
    score = score * (torch.arange(3) < sizes[:, None])
    assert close(gate, score / score.sum(dim=1, keepdim=True))
