"""A network of attention for small images."""

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from lit_xai.models.library import attention_differentiable_twice, differentiable_twice


class SmallViT(nn.Module):
    """Timm's vision transformer (Dosovitskiy et al., 2021, arXiv 2010.11929) for small images.

    The networks that timm has names for take images of 160 pixels and more. Attention uses the kernel that
    has a second derivative, in every pass.

    Args:
        size: Height and width of the images, in pixels.
        channels: Of the images.
        num_classes: Number of classes.
        patch_size: Height and width of a patch, in pixels.
        width: Length of a token; a multiple of `heads`.
        depth: Number of layers.
        heads: Number of attention heads in each.

    Raises:
        ValueError: If a size or number is below 1, the patches do not fill the image, or the heads do not
            share the width.
    """

    def __init__(
        self,
        size: int = 28,
        channels: int = 1,
        num_classes: int = 10,
        patch_size: int = 4,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
    ) -> None:
        super().__init__()
        counts = {"size": size, "patch_size": patch_size, "width": width, "depth": depth, "heads": heads}
        for name, count in counts.items():
            if count < 1:
                raise ValueError(f"Expected `{name}` of at least 1, but got {count}.")
        if size % patch_size:
            raise ValueError(f"Expected `size` as a multiple of {patch_size} pixels, but got {size}.")
        if width % heads:
            raise ValueError(f"Expected `width` as a multiple of {heads} heads, but got {width}.")
        self.network = differentiable_twice(
            VisionTransformer(
                img_size=size,
                patch_size=patch_size,
                in_chans=channels,
                num_classes=num_classes,
                embed_dim=width,
                depth=depth,
                num_heads=heads,
                mlp_ratio=2.0,
            )
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return logits, (N, K), for pixels in [0, 1], (N, C, H, W)."""
        with attention_differentiable_twice():
            logits: Tensor = self.network(image)
        return logits
