"""The Vision Transformer that is trained, with timm's parameter names.

Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", pre-norm encoder.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional

# What lies around an image: pixels of 0, as data.normalise maps them, to which a product with bytes adds nothing.
_BACKGROUND = -0.1307 / 0.3081


@dataclasses.dataclass(frozen=True)
class VitConfig:
    """Every dimension of a model; its fields are the JSON in a weights file."""

    image_size: int = 28
    channels: int = 1
    patch_size: int = 7
    width: int = 64
    depth: int = 6
    heads: int = 4
    mlp_width: int = 256
    classes: int = 10
    class_token: bool = True
    pool: str = "token"  # "token": the class token; "avg": the mean of the patches
    qkv_bias: bool = True
    proj_bias: bool = True
    mlp_bias: bool = True
    layer_norm_epsilon: float = 1e-6
    patch_overlap: int = 0  # pixels beyond each side of a patch that its embedding sees, too

    @property
    def tokens(self) -> int:
        """Patches, and one more with a class token."""
        return (self.image_size // self.patch_size) ** 2 + int(self.class_token)


class PatchEmbed(nn.Module):
    """Cuts an image into patches and projects each: a strided convolution."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        size, self.overlap = config.patch_size, config.patch_overlap
        self.proj = nn.Conv2d(config.channels, config.width, size + 2 * self.overlap, stride=size)

    def forward(self, images: Tensor) -> Tensor:
        """Maps [N, C, H, W] to [N, patches, width]."""
        if self.overlap:
            images = functional.pad(images, 4 * (self.overlap,), value=_BACKGROUND)
        return self.proj(images).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head self-attention: Softmax(Q K^T / sqrt(d_k)) V, then a projection."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=config.qkv_bias)
        self.proj = nn.Linear(config.width, config.width, bias=config.proj_bias)

    def forward(self, x: Tensor, keep: list[Tensor] | None = None) -> Tensor:
        """Maps [N, T, D] to [N, T, D]; appends the weights [N, heads, T, T] to `keep`."""
        n, t, d = x.shape
        qkv = self.qkv(x).reshape(n, t, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if keep is None:
            y = functional.scaled_dot_product_attention(q, k, v)
        else:
            weights = (q @ k.transpose(-2, -1) * (d // self.heads) ** -0.5).softmax(-1)
            keep.append(weights)
            y = weights @ v
        return self.proj(y.transpose(1, 2).reshape(n, t, d))


class Mlp(nn.Module):
    """Two linear layers around an exact (erf) GELU."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.width, config.mlp_width, bias=config.mlp_bias)
        self.fc2 = nn.Linear(config.mlp_width, config.width, bias=config.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, T, D] to [N, T, D]."""
        return self.fc2(functional.gelu(self.fc1(x)))


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): skips a residual branch for some images."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Keeps each image's branch with probability 1 - rate, scaled to the same mean."""
        if not self.training or self.rate == 0.0:
            return x
        kept = x.new_empty(x.shape[0], 1, 1).bernoulli_(1.0 - self.rate)
        return x * kept / (1.0 - self.rate)


class Block(nn.Module):
    """One pre-norm encoder layer."""

    def __init__(self, config: VitConfig, drop_path: float) -> None:
        super().__init__()
        epsilon = config.layer_norm_epsilon
        self.norm1 = nn.LayerNorm(config.width, eps=epsilon)
        self.attn = Attention(config)
        self.norm2 = nn.LayerNorm(config.width, eps=epsilon)
        self.mlp = Mlp(config)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, keep: list[Tensor] | None = None) -> Tensor:
        """Maps [N, T, D] to [N, T, D]."""
        x = x + self.drop_path(self.attn(self.norm1(x), keep))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class VisionTransformer(nn.Module):
    """The whole network, from normalised pixels to logits."""

    def __init__(self, config: VitConfig, drop_path: float = 0.0) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.patch_embed = PatchEmbed(config)
        if config.class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, config.tokens, width))
        rates = torch.linspace(0.0, drop_path, config.depth).tolist()
        self.blocks = nn.ModuleList(Block(config, rate) for rate in rates)
        norm = nn.LayerNorm(width, eps=config.layer_norm_epsilon)
        # timm calls the last LayerNorm fc_norm when it comes after mean pooling.
        self.norm = norm if config.pool == "token" else nn.Identity()
        self.fc_norm = norm if config.pool == "avg" else nn.Identity()
        self.head = nn.Linear(width, config.classes)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        if self.config.class_token:
            nn.init.normal_(self.cls_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.flatten(1))

    def forward(self, images: Tensor, keep: list[Tensor] | None = None) -> Tensor:
        """Maps normalised images [N, C, H, W] to logits [N, classes].

        Every layer's attention weights are appended to `keep` if it is given.
        """
        x = self.patch_embed(images)
        if self.config.class_token:
            x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        x = x + self.pos_embed
        for block in self.blocks:
            x = block(x, keep)
        if self.config.pool == "token":
            return self.head(self.norm(x)[:, 0])
        first = 1 if self.config.class_token else 0
        return self.head(self.fc_norm(x[:, first:].mean(dim=1)))
