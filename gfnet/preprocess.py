"""Turns an encoded image into a tensor of the kind that a checkpoint was trained on."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
EXIF = ("ignore", "apply")
ORIENTATION = "orientation"
"""Key in an image's `info` of the EXIF orientation, 2 to 8, that was ignored."""

_UPRIGHT = 1
_WHITE = 255
MAX_SIZE = 65_536
_MAX_CHANNEL = 1e6
"""Limit of mean and standard deviation, whose colours range from 0 to 1 or from 0 to 255."""

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are decoded. Pillow knows more, and for EPS it starts another program."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class DecodeError(ValueError):
    """Raised for bytes that are not a usable image; the message says what the decoder found."""


@dataclass(frozen=True)
class Preprocessing:
    """How to prepare images for a checkpoint.

    Attributes:
        size: the shorter side after resizing, pixels.
        crop: side of the centre crop, pixels; the model's img_size.
        interpolation: one of INTERPOLATIONS.
        mean, std: one value per RGB channel, for colours in 0..1.
        exif: whether an image is turned according to its EXIF orientation. torchvision ignores it,
            except for TIFF, which Pillow turns in either case.
    """

    size: int
    crop: int
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    exif: str = EXIF[0]

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: no image can be prepared with a value.
        """
        for name in ("size", "crop"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= MAX_SIZE:
                raise ValueError(
                    f"preprocessing.{name} {value!r} is not a whole number from 1 to {MAX_SIZE}"
                )
        if self.crop > self.size:
            raise ValueError(f"preprocessing.crop {self.crop} is more than size {self.size}")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"preprocessing.interpolation {self.interpolation!r};"
                f" allowed: {', '.join(INTERPOLATIONS)}"
            )
        if self.exif not in EXIF:
            raise ValueError(f"preprocessing.exif {self.exif!r}; allowed: {', '.join(EXIF)}")
        for name in ("mean", "std"):
            channels = getattr(self, name)
            if len(channels) != len("RGB") or not all(
                isinstance(c, (int, float)) and abs(c) <= _MAX_CHANNEL for c in channels
            ):
                raise ValueError(
                    f"preprocessing.{name} {channels!r} is not three finite numbers in a"
                    " colour's range"
                )
        if min(self.std) <= 0:
            raise ValueError(f"preprocessing.std {self.std!r} is not positive")

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values; `from_json` reads them back."""
        fields = asdict(self) | {"mean": list(self.mean), "std": list(self.std)}
        if self.exif == EXIF[0]:
            del fields["exif"]  # which an earlier gfjobs does not know
        return fields

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Preprocessing:
        """Read what `to_json` wrote.

        Raises:
            ValueError: a field is missing, unknown, or impossible.
        """
        if set(fields) | {"exif"} != set(cls.__dataclass_fields__):
            raise ValueError(
                f"preprocessing has the fields {sorted(fields)};"
                f" expected {sorted(cls.__dataclass_fields__)}"
            )
        return cls(**(fields | {"mean": tuple(fields["mean"]), "std": tuple(fields["std"])}))


def decode(encoded: bytes | None, exif: str = EXIF[0]) -> Image:
    """Decode one PNG, JPEG, TIFF, ... to RGB.

    Args:
        encoded: the file's bytes.
        exif: one of EXIF; an orientation that is ignored stands in the image's `info`, as
            ORIENTATION.

    Raises:
        DecodeError: there are no bytes, or Pillow cannot read them.
    """
    from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError  # planning needs no Pillow

    if not encoded:
        raise DecodeError("no bytes")
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            _check_size(image.width * image.height, Image.MAX_IMAGE_PIXELS)
            image.load()  # which turns a TIFF as its tag says, and removes the tag
            orientation = image.getexif().get(ExifTags.Base.Orientation, _UPRIGHT)
            upright = ImageOps.exif_transpose(image) if exif == EXIF[1] else image
            decoded: Image.Image = _to_8_bits(upright, image.format).convert("RGB")
            if upright is image and orientation != _UPRIGHT:
                decoded.info[ORIENTATION] = orientation
            return decoded
    except UnidentifiedImageError as err:  # its own message contains a memory address
        raise DecodeError("not an image of a known format") from err
    except Exception as err:  # Pillow's plug-ins can raise any exception on broken bytes
        raise DecodeError(f"{type(err).__name__}: {err}") from err


def _check_size(pixels: int, most: int | None) -> None:
    """Refuse a size that Pillow only warns of, before the pixels are decoded."""
    if most is not None and pixels > most:
        raise ValueError(f"{pixels:,} pixels are more than {most:,}: could be a decompression bomb")


def _to_8_bits(image: Image, form: str | None) -> Image:
    """Scale 16-bit grey, which Pillow would clip to white; wider grey has no known range.

    A PGM with more than 8 bits has mode I, which Pillow has scaled to 0..65535.

    Raises:
        ValueError: 32-bit or floating-point pixels.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and form == "PPM"):
        import numpy as np
        from PIL import Image as Images

        pixels = np.asarray(image).astype(np.float64) / 257  # 65535 becomes 255
        return Images.fromarray(np.round(pixels).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} have no known range; save 8 or 16 bits")
    return image


def geometry(preprocessing: Preprocessing) -> Callable[[Image], Tensor]:
    """Return the function from a decoded image to (3, crop, crop) uint8: resize, centre crop.

    Training stores its images so, in a quarter of the memory, and normalises a batch at a time.
    """
    return _Geometry(preprocessing)


def normalisation(preprocessing: Preprocessing) -> Callable[[Tensor], Tensor]:
    """Return the function from (..., 3, H, W) uint8 pixels to a model's float32 input."""
    return _Normalisation(preprocessing)


def transform(preprocessing: Preprocessing) -> Callable[[Image], Tensor]:
    """Return the function from a decoded image to its (3, crop, crop) float32 tensor."""
    cut, normalise = _Geometry(preprocessing), _Normalisation(preprocessing)
    return lambda image: normalise(cut(image))


def prepare_images(encoded: Sequence[bytes | None], preprocessing: Preprocessing) -> Tensor:
    """Return encoded images as the (B, 3, crop, crop) input of a model, on the CPU.

    Raises:
        DecodeError: one cannot be decoded.
    """
    import torch

    prepare = transform(preprocessing)
    return torch.stack([prepare(decode(each, preprocessing.exif)) for each in encoded])


class _Geometry:
    """Resize and crop as torchvision does, bit for bit: importing it takes 165 MiB of a worker."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        from PIL import Image as Images  # planning needs Preprocessing, not Pillow

        self._size, self._crop = preprocessing.size, preprocessing.crop
        self._resampling = Images.Resampling[preprocessing.interpolation.upper()]

    def __call__(self, image: Image) -> Tensor:
        """Return (3, crop, crop) uint8; rows of pixels lie in memory as Pillow had them."""
        import numpy as np
        import torch

        _check_resized(self._size, image)
        if sides := self._resized(*image.size):
            image = image.resize(sides, resample=self._resampling)
        left, top = (round((side - self._crop) / 2) for side in image.size)
        image = image.crop((left, top, left + self._crop, top + self._crop))
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)

    def _resized(self, width: int, height: int) -> tuple[int, int] | None:
        """Return the sides after resizing; None if the shorter one has its size."""
        shorter, longer = sorted((width, height))
        if shorter == self._size:
            return None
        longer = int(self._size * longer / shorter)
        return (self._size, longer) if width <= height else (longer, self._size)


class _Normalisation:
    """Scale to 0..1, subtract the mean, divide by the deviation: as torchvision, bit for bit."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        import torch  # planning needs Preprocessing, not torch

        self._mean, self._std = (
            torch.tensor(channels, dtype=torch.float32).view(-1, 1, 1)
            for channels in (preprocessing.mean, preprocessing.std)
        )

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return (..., 3, H, W) float32."""
        return pixels.float().mul_(1 / _WHITE).sub_(self._mean).div_(self._std)


def _check_resized(size: int, image: Image) -> None:
    """Refuse an image that is so elongated that resizing it would fill the memory.

    Raises:
        DecodeError: with its shorter side at `size`, it has more pixels than Pillow decodes.
    """
    from PIL import Image as Images

    shorter, longer = sorted(image.size)
    pixels = size * size * longer // shorter
    if Images.MAX_IMAGE_PIXELS is not None and pixels > max(Images.MAX_IMAGE_PIXELS, size * size):
        raise DecodeError(
            f"{image.width} x {image.height} pixels, resized to a shorter side of {size}, make"
            f" {pixels:,}: more than {Images.MAX_IMAGE_PIXELS:,}"
        )
