"""Pure data: what the named networks are, how big they are, what was published.

`params` are the trainable parameters and `macs` the multiply-accumulates of
convolutions and dense layers for one image of `size` pixels and 1000 classes (10 for
the CIFAR form); tests hold the constructors to them. `published_top1` is the accuracy
in percent that the authors report on the data set `published_on`. For the networks
with depth attention that is ImageNet-1K at 224 pixels (arXiv 2209.10327); only the
86-layer networks have one. SDA-EPSANet and SDA-CBAM were published by their
sizes only; the MACs of these rows and of the CIFAR forms are our own count.

`weights` are what `weights=` of a constructor takes by name. `source` is `"hub"` (a
repository of the Hugging Face hub, with the layout of its names) or `"package"` (a
file in the folder `weights` beside this one). `top1` is the published accuracy in
percent for images of `evaluated_at`, of the trunk for `"hub"` and of the whole network
for `"package"`. `preprocessing` is what the weights were trained for; its mean and
deviation, of pixels from 0 to 1, are those of `preprocess_input` throughout.

The authors of depth attention publish no weights in an open format. Accuracies and
image sizes of timm's checkpoints are those of results/results-imagenet.csv in the
repository huggingface/pytorch-image-models (commit 0173a139), the preprocessing is
that of its timm/models/resnet.py and res2net.py, the licence that of the card of each
repository on the hub. Revisions are given where the full hash of a commit with the
file is on record; `None` is the newest.
"""

from typing import Any

from keras_sda.applications.presets.cifar_presets import CIFAR_PRESETS
from keras_sda.applications.presets.supernet_presets import SUPERNET_PRESETS

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def _timm(name, top1, size, crop, interpolation, train_crop, licence, **more):
    """A row of weights of timm; training was at 224 pixels throughout."""
    return {
        "source": "hub",
        "repository": f"timm/{name}",
        "revision": None,
        "file": "model.safetensors",
        "layout": "timm",
        "licence": licence,
        "classes": 1000,
        "top1": top1,
        "evaluated_at": {"size": size, "crop": crop, "interpolation": interpolation},
        "preprocessing": {
            "size": 224,
            "crop": train_crop,
            "interpolation": interpolation,
            "mean": IMAGENET_MEAN,
            "std": IMAGENET_STD,
        },
        **more,
    }


def _cifar10(name, top1):
    """A row of our own weights, shipped by `tools/ship_weights.py`."""
    return {
        "source": "package",
        "file": f"{name.lower()}_cifar10.safetensors",
        "layout": "authors",
        "licence": "apache-2.0",
        "classes": 10,
        "top1": top1,
        "evaluated_at": {"size": 32, "images": 10_000},
        "preprocessing": {"size": 32, "mean": IMAGENET_MEAN, "std": IMAGENET_STD},
        "command": f"keras-sda train --model {name} --dataset cifar10 --recipe cifar",
        "recipe": "cifar",
        "seed": 0,
        "epochs": 15,
        "device": "1 x cpu (x86_64, Linux)",
        "versions": {
            "keras_sda": "0.1.0",
            "keras": "3.15.1",
            "backend": "tensorflow",
            "tensorflow": "2.21.0",
        },
    }


# The schedule of "ResNet strikes back" (arXiv 2110.00476): evaluated at 288 pixels.
_STRIKES_BACK = {
    "size": 288,
    "crop": 1.0,
    "interpolation": "bicubic",
    "train_crop": 0.95,
    "licence": "apache-2.0",
}
_RES2NET = {
    "size": 224,
    "crop": 0.875,
    "interpolation": "bilinear",
    "train_crop": 0.875,
    "licence": "unknown",
    "note": "The card names no licence, and the authors of Res2Net publish their "
    "training code for non-commercial use only: hence under the name of the "
    "repository, for those who know that they may use it.",
}

PRESETS: dict[str, dict[str, Any]] = {
    "SDAResNet20": {
        "family": "sda_resnet",
        "form": "cifar",
        "stackwise_num_blocks": [3, 3, 3],
        "params": 301_994,
        "macs": 40_841_856,
        "weights": {
            "cifar10": _cifar10("SDAResNet20", 88.71),
        },
    },
    "SDAResNet32": {
        "family": "sda_resnet",
        "form": "cifar",
        "stackwise_num_blocks": [5, 5, 5],
        "params": 510_986,
        "macs": 69_167_744,
    },
    "SDAResNet56": {
        "family": "sda_resnet",
        "form": "cifar",
        "stackwise_num_blocks": [9, 9, 9],
        "params": 928_970,
        "macs": 125_819_520,
        "weights": {
            "cifar10": _cifar10("SDAResNet56", 89.83),
        },
    },
    "SDAResNet50": {
        "family": "sda_resnet",
        "form": "imagenet",
        "stackwise_num_blocks": [3, 4, 6, 3],
        "groups": 1,
        "params": 27_313_576,
        "macs": 4_090_920_960,
        "weights": {
            "imagenet": _timm(
                "resnet50.a1_in1k",
                81.214,
                **_STRIKES_BACK,
                revision="73aa6788a8e5470e708bb3408c7f6eed24ceeb35",
            ),
        },
    },
    "SDAResNet86": {
        "family": "sda_resnet",
        "form": "imagenet",
        "stackwise_num_blocks": [5, 6, 12, 5],
        "groups": 8,
        "params": 27_219_880,
        "macs": 3_879_993_344,
        "published_top1": 78.76,
        "published_on": "ImageNet",
    },
    "SDAResNet101": {
        "family": "sda_resnet",
        "form": "imagenet",
        "stackwise_num_blocks": [3, 4, 23, 3],
        "groups": 1,
        "params": 47_437_224,
        "macs": 7_804_256_256,
        "weights": {
            "imagenet": _timm(
                "resnet101.a1h_in1k",
                82.778,
                **_STRIKES_BACK,
                revision="31c8dd57af17e8f4a74423ce917e37a3f8d71175",
            ),
        },
    },
    "SDAResNet152": {
        "family": "sda_resnet",
        "form": "imagenet",
        "stackwise_num_blocks": [3, 8, 36, 3],
        "groups": 1,
        "params": 64_079_272,
        "macs": 11_517_460_480,
        "weights": {
            "imagenet": _timm("resnet152.a1h_in1k", 83.45, **_STRIKES_BACK),
        },
    },
    "SDASENet50": {
        "family": "sda_senet",
        "form": "bottleneck",
        "stackwise_num_blocks": [3, 4, 6, 3],
        "params": 29_844_568,
        "macs": 4_093_435_904,
        "weights": {
            "imagenet": _timm("seresnet50.a1_in1k", 81.102, **_STRIKES_BACK),
        },
    },
    "SDASENet86": {
        "family": "sda_senet",
        "form": "bottleneck",
        "stackwise_num_blocks": [5, 6, 12, 5],
        "params": 49_130_808,
        "macs": 6_716_760_064,
        "published_top1": 78.95,
        "published_on": "ImageNet",
    },
    "SDASENet101": {
        "family": "sda_senet",
        "form": "bottleneck",
        "stackwise_num_blocks": [3, 4, 23, 3],
        "params": 52_214_936,
        "macs": 7_808_999_424,
    },
    "SDASENet152": {
        "family": "sda_senet",
        "form": "bottleneck",
        "stackwise_num_blocks": [3, 8, 36, 3],
        "params": 70_708_312,
        "macs": 11_524_038_656,
    },
    "SDARes2Net50": {
        "family": "sda_res2net",
        "form": "bottleneck",
        "stackwise_num_blocks": [3, 4, 6, 3],
        "params": 27_455_664,
        "macs": 4_256_903_168,
        "weights": {
            "timm/res2net50_26w_4s.in1k": _timm(
                "res2net50_26w_4s.in1k", 77.95, **_RES2NET
            ),
        },
    },
    "SDARes2Net86": {
        "family": "sda_res2net",
        "form": "bottleneck",
        "stackwise_num_blocks": [5, 6, 12, 5],
        "params": 45_254_544,
        "macs": 6_948_606_976,
        "published_top1": 79.36,
        "published_on": "ImageNet",
    },
    "SDARes2Net101": {
        "family": "sda_res2net",
        "form": "bottleneck",
        "stackwise_num_blocks": [3, 4, 23, 3],
        "params": 48_094_752,
        "macs": 8_069_825_280,
        "weights": {
            "timm/res2net101_26w_4s.in1k": _timm(
                "res2net101_26w_4s.in1k", 79.202, **_RES2NET
            ),
        },
    },
    "SDARes2Net152": {
        "family": "sda_res2net",
        "form": "bottleneck",
        "stackwise_num_blocks": [3, 8, 36, 3],
        "params": 65_161_712,
        "macs": 11_882_616_320,
    },
    "SDAPyConv50": {
        "family": "sda_pyconv",
        "form": "bottleneck",
        "stackwise_num_blocks": [3, 4, 6, 3],
        "params": 26_604_264,
        "macs": 3_822_178_304,
    },
    "SDAPyConv86": {
        "family": "sda_pyconv",
        "form": "bottleneck",
        "stackwise_num_blocks": [5, 6, 12, 5],
        "params": 43_331_176,
        "macs": 6_221_606_912,
        "published_top1": 79.27,
        "published_on": "ImageNet",
    },
    "SDAPyConv101": {
        "family": "sda_pyconv",
        "form": "bottleneck",
        "stackwise_num_blocks": [3, 4, 23, 3],
        "params": 45_196_008,
        "macs": 7_235_260_416,
    },
    "SDAPyConv152": {
        "family": "sda_pyconv",
        "form": "bottleneck",
        "stackwise_num_blocks": [3, 8, 36, 3],
        "params": 60_527_336,
        "macs": 10_609_676_288,
    },
    "SDAEPSANet50": {
        "family": "sda_epsanet",
        "form": "bottleneck",
        "stackwise_num_blocks": [3, 4, 6, 3],
        "params": 24_350_740,
        "macs": 3_599_636_864,
    },
    "SDAEPSANet86": {
        "family": "sda_epsanet",
        "form": "bottleneck",
        "stackwise_num_blocks": [5, 6, 12, 5],
        "params": 39_449_292,
        "macs": 5_852_581_504,
        "published_top1": 78.8,
        "published_on": "ImageNet",
    },
    "SDAEPSANet101": {
        "family": "sda_epsanet",
        "form": "bottleneck",
        "stackwise_num_blocks": [3, 4, 23, 3],
        "params": 41_850_404,
        "macs": 6_790_975_872,
    },
    "SDAEPSANet152": {
        "family": "sda_epsanet",
        "form": "bottleneck",
        "stackwise_num_blocks": [3, 8, 36, 3],
        "params": 56_331_796,
        "macs": 9_982_177_664,
    },
    "SDACBAM50": {
        "family": "sda_cbam",
        "form": "bottleneck",
        "stackwise_num_blocks": [3, 4, 6, 3],
        "params": 32_345_032,
        "macs": 4_102_339_702,
    },
    "SDACBAM86": {
        "family": "sda_cbam",
        "form": "bottleneck",
        "stackwise_num_blocks": [5, 6, 12, 5],
        "params": 53_536_864,
        "macs": 6_732_307_818,
        "published_top1": 79.05,
        "published_on": "ImageNet",
    },
    "SDACBAM101": {
        "family": "sda_cbam",
        "form": "bottleneck",
        "stackwise_num_blocks": [3, 4, 23, 3],
        "params": 56_926_794,
        "macs": 7_824_914_430,
    },
    "SDACBAM152": {
        "family": "sda_cbam",
        "form": "bottleneck",
        "stackwise_num_blocks": [3, 8, 36, 3],
        "params": 77_240_524,
        "macs": 11_546_015_718,
    },
    **CIFAR_PRESETS,
    **SUPERNET_PRESETS,
}

# What a form of network fixes besides its depths.
FORMS: dict[str, dict[str, Any]] = {
    "imagenet": {
        "stem": "imagenet",
        "block_type": "bottleneck",
        "base_width": 64,
        "stem_width": 64,
        "default_size": 224,
        "classes": 1000,
    },
    "cifar": {
        "stem": "cifar",
        "block_type": "basic",
        "base_width": 16,
        "stem_width": 16,
        "default_size": 32,
        "classes": 10,
    },
    "bottleneck": {"default_size": 224, "classes": 1000},
    "supernet": {"default_size": 224, "classes": 1000},
    "mnist": {"default_size": 28, "classes": 10},
}
