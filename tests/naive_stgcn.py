"""A slow ST-GCN on a state dict in the published layout, written from its description: channels first, no modules, nothing shared
with skelmm_core. The reference for tests of the encoder and of reading published checkpoints."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SUFFIX = {
    "joint": "",
    "motion": "_motion",
    "bone": "_bone",
    "acceleration": "_acceleration",
    "rotation_axis": "_rotation_axis",
    "angular_velocity": "_omega",
}


def channels(hidden: int, features: int) -> list[int]:
    h = hidden
    return [h, h, h, h, 2 * h, 2 * h, 2 * h, 4 * h, 4 * h, features]


def encode(state: dict[str, Tensor], x: Tensor, prefix: str = "", train: bool = False) -> tuple[Tensor, Tensor]:
    """(N, C, T, V, M) -> feature, embedding; in train mode batch statistics, which also update the running ones in `state`."""

    def p(name: str) -> Tensor:
        return state[prefix + name]

    def norm(y: Tensor, name: str) -> Tensor:
        return F.batch_norm(
            y, p(f"{name}.running_mean"), p(f"{name}.running_var"), p(f"{name}.weight"), p(f"{name}.bias"), train, 0.1, 1e-5
        )

    n, c, t, v, m = x.shape
    y = x.permute(0, 4, 3, 1, 2).reshape(n * m, v * c, t)  # channel v*3+c
    y = norm(y, "data_bn").view(n * m, v, c, t).permute(0, 2, 3, 1)  # (NM, C, T, V)
    for i in range(10):
        net, stride = f"st_gcn_networks.{i}", 2 if i in (4, 7) else 1
        graph = p("A") * p(f"edge_importance.{i}")
        if f"{prefix}{net}.residual.0.weight" in state:
            shortcut = F.conv2d(y, p(f"{net}.residual.0.weight"), p(f"{net}.residual.0.bias"), stride=(stride, 1))
            shortcut = norm(shortcut, f"{net}.residual.1")
        else:
            shortcut = torch.zeros(()) if i == 0 else y
        y = F.conv2d(y, p(f"{net}.gcn.conv.weight"), p(f"{net}.gcn.conv.bias"))
        y = y.view(y.shape[0], 3, -1, *y.shape[2:])  # (NM, K, C', T, V)
        y = torch.einsum("nkctv,kvw->nctw", y, graph)
        y = F.relu(norm(y, f"{net}.tcn.0"))
        y = F.conv2d(y, p(f"{net}.tcn.2.weight"), p(f"{net}.tcn.2.bias"), stride=(stride, 1), padding=(4, 0))
        y = F.relu(norm(y, f"{net}.tcn.3") + shortcut)
    feature = y.mean((2, 3)).view(n, m, -1).mean(1)
    return feature, _head(state, prefix + "fc.", feature)


def _head(state: dict[str, Tensor], prefix: str, y: Tensor) -> Tensor:
    if f"{prefix}weight" in state:
        return F.linear(y, state[f"{prefix}weight"], state[f"{prefix}bias"])
    y = F.relu(F.linear(y, state[f"{prefix}0.weight"], state[f"{prefix}0.bias"]))
    return _head(state, f"{prefix}2.", y)


def random_encoder(
    rng: torch.Generator, graph: Tensor, head: dict[str, tuple[int, int]], hidden=4, features=32, in_channels=3
) -> dict[str, Tensor]:
    """State dict of one encoder; `head`: name of a linear layer -> (out, in)."""
    state: dict[str, Tensor] = {"A": graph}
    joints = graph.shape[-1]

    def layer(name: str, out: int, fan_in: int, *kernel: int) -> None:
        scale = (2 / (fan_in * (kernel[0] if kernel else 1))) ** 0.5
        state[f"{name}.weight"] = torch.randn(out, fan_in, *kernel, generator=rng) * scale
        state[f"{name}.bias"] = torch.randn(out, generator=rng) * 0.1

    def norm(name: str, width: int) -> None:
        state[f"{name}.weight"] = torch.rand(width, generator=rng) + 0.5
        state[f"{name}.bias"] = torch.randn(width, generator=rng) * 0.2
        state[f"{name}.running_mean"] = torch.randn(width, generator=rng) * 0.2
        state[f"{name}.running_var"] = torch.rand(width, generator=rng) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    norm("data_bn", in_channels * joints)
    outs = channels(hidden, features)
    for i, (c_in, c_out) in enumerate(zip([in_channels, *outs], outs, strict=False)):
        net = f"st_gcn_networks.{i}"
        layer(f"{net}.gcn.conv", 3 * c_out, c_in, 1, 1)
        norm(f"{net}.tcn.0", c_out)
        layer(f"{net}.tcn.2", c_out, c_out, 9, 1)
        norm(f"{net}.tcn.3", c_out)
        if i in (4, 7) or (i and c_in != c_out):
            layer(f"{net}.residual.0", c_out, c_in, 1, 1)
            norm(f"{net}.residual.1", c_out)
        state[f"edge_importance.{i}"] = 1 + 0.3 * torch.randn(3, joints, joints, generator=rng)
    for name, (out, fan_in) in head.items():
        layer(f"fc{name and '.'}{name}", out, fan_in)
    return state


def with_prefix(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


def slow_adjacency(edges: list[tuple[int, int]], joints: int, centre: int) -> Tensor:
    """Spatial partition with one hop from its definition, joint pair by joint pair, (3, V, V)."""
    neighbours = {v: {v} for v in range(joints)}
    for a, b in edges:
        neighbours[a].add(b)
        neighbours[b].add(a)
    distance, ring = {centre: 0}, [centre]
    while ring:
        ring = [w for v in ring for w in neighbours[v] if w not in distance and not distance.update({w: distance[v] + 1})]
    graph = torch.zeros(3, joints, joints)
    for i in range(joints):
        for j in neighbours[i]:
            subset = 0 if i == j else 1 if distance[j] >= distance[i] else 2
            graph[subset, j, i] = 1 / len(neighbours[i])
    return graph
