"""ST-GCN of one modality in plain modules, channels first, named as in published checkpoints."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.plain.tables import CENTRE, EDGES


def graph() -> Tensor:
    """Adjacency with self links by columns, in three subsets by hop distance and distance to the centre, (3, V, V)."""
    hop = torch.full((25, 25), torch.inf).fill_diagonal_(0)
    for a, b in EDGES:
        hop[a, b] = hop[b, a] = 1
    for via in range(25):
        hop = torch.minimum(hop, hop[:, via : via + 1] + hop[via : via + 1])
    away = hop[:, CENTRE]
    weight = (hop <= 1).float()
    weight = weight / weight.sum(0)
    farther = away[:, None] >= away[None, :]
    return torch.stack([weight * (hop == 0), weight * ((hop == 1) & farther), weight * ((hop == 1) & ~farther)])


class GraphConv(nn.Module):
    """1x1 convolution to three subsets, each summed over its neighbours."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.conv = nn.Conv2d(c_in, 3 * c_out, 1)

    def forward(self, x: Tensor, weighted: Tensor) -> Tensor:
        y = self.conv(x)  # (B, 3*C', T, V)
        return torch.einsum("nkctv,kvw->nctw", y.view(len(y), 3, -1, *y.shape[2:]), weighted).contiguous()


class Block(nn.Module):
    """Graph convolution, BN, ReLU, 9x1 temporal convolution, BN, dropout, residual, ReLU; the first has neither dropout nor residual."""

    def __init__(self, c_in: int, c_out: int, stride: int, dropout: float, first: bool):
        super().__init__()
        self.gcn = GraphConv(c_in, c_out)
        temporal = nn.Conv2d(c_out, c_out, (9, 1), (stride, 1), (4, 0))
        self.tcn = nn.Sequential(
            nn.BatchNorm2d(c_out), nn.ReLU(), temporal, nn.BatchNorm2d(c_out), nn.Dropout(0.0 if first else dropout)
        )  # fmt: skip
        self.first, self.residual = first, None
        if not first and (c_in, stride) != (c_out, 1):
            self.residual = nn.Sequential(nn.Conv2d(c_in, c_out, 1, (stride, 1)), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor, weighted: Tensor) -> Tensor:
        y = self.tcn(self.gcn(x, weighted))
        if not self.first:
            y = y + (x if self.residual is None else self.residual(x))
        return F.relu(y)


class STGCN(nn.Module):
    """(N, 3, T, V, M) -> feature (N, features), embedding (N, out), which is not normalised."""

    def __init__(self, hidden: int, features: int, inner: int, out: int, dropout: float):
        super().__init__()
        self.register_buffer("A", graph())
        self.data_bn = nn.BatchNorm1d(25 * 3)
        h = hidden
        widths = [3, h, h, h, h, 2 * h, 2 * h, 2 * h, 4 * h, 4 * h, features]
        self.st_gcn_networks = nn.ModuleList(
            Block(widths[i], widths[i + 1], 2 if i in (4, 7) else 1, dropout, first=i == 0) for i in range(10)
        )  # fmt: skip
        self.edge_importance = nn.ParameterList(torch.ones(3, 25, 25) for _ in range(10))
        self.fc = nn.Sequential(nn.Linear(features, inner), nn.ReLU(), nn.Linear(inner, out))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        n, c, t, v, m = x.shape
        x = x.permute(0, 4, 3, 1, 2).reshape(n * m, v * c, t)  # channel v*3+c
        x = self.data_bn(x).view(n * m, v, c, t).permute(0, 2, 3, 1).contiguous()  # (N*M, C, T, V)
        for block, importance in zip(self.st_gcn_networks, self.edge_importance, strict=True):
            x = block(x, self.A * importance)
        feature = x.mean((2, 3)).view(n, m, -1).mean(1)
        return feature, self.fc(feature)


def initialise(module: nn.Module) -> None:
    """Convolutions and linear layers N(0, 0.02), normalisations N(1, 0.02), biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0 if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) else 0.0, 0.02)
            nn.init.zeros_(layer.bias)
