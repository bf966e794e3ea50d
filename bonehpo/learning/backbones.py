"""Backbones: networks of `keras.applications` that are trained beside the paper's family, one entry each.

An entry says what is peculiar to its network; `learning.transfer` builds, loads and trains any of them. To add one, see
`docs/how-to/add-a-backbone.md`. Keras is not imported here, so that commands can list what there is.

References:
    He, Zhang, Ren, Sun, Deep residual learning for image recognition, CVPR 2016, doi:10.1109/CVPR.2016.90.
    Huang, Liu, van der Maaten, Weinberger, Densely connected convolutional networks, CVPR 2017, doi:10.1109/CVPR.2017.243.
    Tan, Le, EfficientNet, ICML 2019, arXiv:1905.11946.
    Sandler et al., MobileNetV2, CVPR 2018, doi:10.1109/CVPR.2018.00474.
    Shen, Peña Fernández, Tozzi, Buehler, J. Mech. Behav. Biomed. Mater. 123 (2021) 104761, §2.6 and §3.5.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from bonehpo.errors import NetworkError
from bonehpo.hyperparameters import Hyperparameters
from bonehpo.learning.architecture import MOMENTUM

Mode = Literal["frozen", "fine-tuned", "scratch"]
"""Trained part of a backbone: the head alone; everything from given weights; everything from none."""

STORAGE = "https://storage.googleapis.com"
"""Address at which Keras keeps the weights that it distributes."""


class Preprocessing(NamedTuple):
    """Intensities (0 to 255) times `scale` plus `offset`, a number or one for each of three channels."""

    scale: float | tuple[float, ...]
    offset: float | tuple[float, ...]


BGR_MEANS = (103.939, 116.779, 123.68)
"""Mean intensities of ImageNet's blue, green and red channels."""

RGB_MEANS, RGB_SDS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Means and standard deviations of ImageNet's channels, as fractions of white."""

PREPROCESSING: Mapping[str, Preprocessing] = {
    # Swapping red and blue, the other half of "caffe", changes nothing in equal channels.
    "caffe": Preprocessing(1.0, tuple(-mean for mean in BGR_MEANS)),
    "tf": Preprocessing(1 / 127.5, -1.0),
    "torch": Preprocessing(
        tuple(1 / (255 * sd) for sd in RGB_SDS),
        tuple(-mean / sd for mean, sd in zip(RGB_MEANS, RGB_SDS, strict=True)),
    ),
}
"""Preprocessing that weights trained on ImageNet expect, by the name that `keras.applications.imagenet_utils` gives it."""


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A network of `keras.applications` without its head.

    Attributes:
        name: In commands, file names and addresses of fits; small letters and digits.
        label: In tables, figures and messages.
        builder: Name of the function in `keras.applications`.
        preprocessing: Of its ImageNet weights, one of `PREPROCESSING`. Where Keras has put it into the graph (EfficientNet:
            "torch") it is taken out there, so that it is the same with and without those weights.
        maps: Regular expression of the layers at which Grad-CAM may look: each layer through which everything passes, and
            whose output is an image. The deepest that is fine enough is taken.
        depth: Most convolutions and dense layers on a way from the slice to the answer, the head among them.
        kernel: Side of the first kernel in pixels.
        n_parameters: All weights below the head.
        n_features: Channels of its output, which the head sees.
        n_normalisation: Weights of its batch normalisations, which stay as they are in fine-tuning.
        n_statistics: Those of them that are means and variances, which no training changes by a gradient.
        weights_url: The file of its ImageNet weights without a head, as Keras distributes it.
        weights_md5: Of that file, as Keras has it; empty where Keras has none.
        smallest_side: Of the slices, in pixels.
        momentum: Of the moving statistics of batch normalisation.
    """

    name: str
    label: str
    builder: str
    preprocessing: Literal["caffe", "tf", "torch"]
    maps: str
    depth: int
    kernel: int
    n_parameters: int
    n_features: int
    n_normalisation: int
    n_statistics: int
    weights_url: str
    weights_md5: str
    smallest_side: int = 32
    momentum: float = MOMENTUM

    @property
    def hyperparameters(self) -> Hyperparameters:
        """Its depth and first kernel, and the learning rate and batch that the paper gave ResNet-50 (§3.5)."""
        return Hyperparameters(layers=self.depth, learning_rate=1e-4, kernel=self.kernel, batch=20)

    @property
    def weights_file(self) -> str:
        """Name of the file of its ImageNet weights."""
        return self.weights_url.rpartition("/")[2]

    def n_trainable(self, mode: Mode, n_outputs: int = 2) -> int:
        """Parameters that training changes.

        Args:
            mode: What of the network is trained.
            n_outputs: Outputs of the head.
        """
        head = (self.n_features + 1) * n_outputs
        if mode == "frozen":
            return head
        return head + self.n_parameters - (self.n_normalisation if mode == "fine-tuned" else self.n_statistics)


RESNET50 = Backbone(
    name="resnet50",
    label="ResNet-50",
    builder="ResNet50",
    preprocessing="caffe",
    maps=r"conv\d_block\d_out",
    depth=50,
    kernel=7,
    n_parameters=23_587_712,
    n_features=2048,
    n_normalisation=106_240,
    n_statistics=53_120,
    weights_url=f"{STORAGE}/tensorflow/keras-applications/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    weights_md5="4d473c1dd8becc155b73f8504c6f6626",
)
"""Of the paper (§2.6), and what is compared where no other is asked for.

It is v1. Its convolutions carry biases; the paper's 23,561,152 parameters have none, and 26,560 biases are the whole
difference (each is followed by a batch normalisation that undoes it). The head has 4,098 parameters in both.
"""

DENSENET121 = Backbone(
    name="densenet121",
    label="DenseNet-121",
    builder="DenseNet121",
    preprocessing="torch",
    maps=r"(pool\d_)?relu",
    depth=121,
    kernel=7,
    n_parameters=7_037_504,
    n_features=1024,
    n_normalisation=167_296,
    n_statistics=83_648,
    weights_url=f"{STORAGE}/tensorflow/keras-applications/densenet/densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
    weights_md5="30ee3e1110167f948a6b9946edeeb738",
)

EFFICIENTNETB0 = Backbone(
    name="efficientnetb0",
    label="EfficientNet-B0",
    builder="EfficientNetB0",
    preprocessing="torch",
    maps=r"block[2346]a_expand_activation|top_activation",
    depth=82,
    kernel=3,
    n_parameters=4_049_564,
    n_features=1280,
    n_normalisation=84_032,
    n_statistics=42_016,
    weights_url=f"{STORAGE}/keras-applications/efficientnetb0_notop.h5",
    weights_md5="50bc09e76180e00e4465e1a485ddc09d",
)

MOBILENETV2 = Backbone(
    name="mobilenetv2",
    label="MobileNetV2",
    builder="MobileNetV2",
    preprocessing="tf",
    maps=r"block_(1|3|6|13)_expand_relu|out_relu",
    depth=53,
    kernel=3,
    n_parameters=2_257_984,
    n_features=1280,
    n_normalisation=68_224,
    n_statistics=34_112,
    weights_url=f"{STORAGE}/tensorflow/keras-applications/mobilenet_v2/"
    "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    weights_md5="",
)

BACKBONES: Mapping[str, Backbone] = {
    backbone.name: backbone for backbone in (RESNET50, DENSENET121, EFFICIENTNETB0, MOBILENETV2)
}
"""By name. An address of a fit holds the name, so that an entry is never changed but in its label."""


def find_backbone(name: str) -> Backbone:
    """Return the backbone of this name.

    Args:
        name: As in `BACKBONES`.

    Raises:
        NetworkError: There is none.
    """
    if name not in BACKBONES:
        raise NetworkError(f"there is no backbone {name!r}: take one of {', '.join(BACKBONES)}")
    return BACKBONES[name]
