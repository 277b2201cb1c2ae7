"""Pure data: what the named networks are, how big they are, what was published.

`params` are the trainable parameters and `macs` the multiply-accumulates of
convolutions and dense layers for one image of `size` pixels and 1000 classes (10 for
the CIFAR form); tests hold the constructors to them. `published_top1` is the accuracy
on ImageNet-1K in percent that the paper reports (arXiv 2209.10327), for 224 pixels;
only the 86-layer networks have one. No weights are published in an open format.
"""

PRESETS = {
    "SDAResNet20": {
        "family": "sda_resnet",
        "form": "cifar",
        "stackwise_num_blocks": [3, 3, 3],
    },
    "SDAResNet32": {
        "family": "sda_resnet",
        "form": "cifar",
        "stackwise_num_blocks": [5, 5, 5],
    },
    "SDAResNet56": {
        "family": "sda_resnet",
        "form": "cifar",
        "stackwise_num_blocks": [9, 9, 9],
    },
    "SDAResNet50": {
        "family": "sda_resnet",
        "form": "imagenet",
        "stackwise_num_blocks": [3, 4, 6, 3],
        "groups": 1,
        "params": 27_313_576,
        "macs": 4_090_920_960,
    },
    "SDAResNet86": {
        "family": "sda_resnet",
        "form": "imagenet",
        "stackwise_num_blocks": [5, 6, 12, 5],
        "groups": 8,
        "params": 27_219_880,
        "macs": 3_879_993_344,
        "published_top1": 78.76,
    },
    "SDAResNet101": {
        "family": "sda_resnet",
        "form": "imagenet",
        "stackwise_num_blocks": [3, 4, 23, 3],
        "groups": 1,
        "params": 47_437_224,
        "macs": 7_804_256_256,
    },
    "SDAResNet152": {
        "family": "sda_resnet",
        "form": "imagenet",
        "stackwise_num_blocks": [3, 8, 36, 3],
        "groups": 1,
        "params": 64_079_272,
        "macs": 11_517_460_480,
    },
}

# What a form of network fixes besides its depths.
FORMS = {
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
}
