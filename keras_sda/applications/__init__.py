"""Networks in the style of `keras.applications`: functional models from a call."""

from keras_sda.applications.checkpoints.load_weights import load_weights
from keras_sda.applications.decode_predictions import decode_predictions
from keras_sda.applications.families.cifar_densenet import CIFARDenseNet121
from keras_sda.applications.families.cifar_mobilenet_v2 import CIFARMobileNetV2
from keras_sda.applications.families.cifar_resnet import CIFARResNet20, CIFARResNet56
from keras_sda.applications.families.cifar_vgg import CIFARVGG16
from keras_sda.applications.families.lenet import LeNet
from keras_sda.applications.families.proxyless_supernet import ProxylessSupernet
from keras_sda.applications.families.sda_cbam import (
    SDACBAM,
    SDACBAM50,
    SDACBAM86,
    SDACBAM101,
    SDACBAM152,
)
from keras_sda.applications.families.sda_epsanet import (
    SDAEPSANet,
    SDAEPSANet50,
    SDAEPSANet86,
    SDAEPSANet101,
    SDAEPSANet152,
)
from keras_sda.applications.families.sda_pyconv import (
    SDAPyConv,
    SDAPyConv50,
    SDAPyConv86,
    SDAPyConv101,
    SDAPyConv152,
)
from keras_sda.applications.families.sda_res2net import (
    SDARes2Net,
    SDARes2Net50,
    SDARes2Net86,
    SDARes2Net101,
    SDARes2Net152,
)
from keras_sda.applications.families.sda_resnet import (
    SDAResNet,
    SDAResNet20,
    SDAResNet32,
    SDAResNet50,
    SDAResNet56,
    SDAResNet86,
    SDAResNet101,
    SDAResNet152,
)
from keras_sda.applications.families.sda_senet import (
    SDASENet,
    SDASENet50,
    SDASENet86,
    SDASENet101,
    SDASENet152,
)
from keras_sda.applications.get_model import (
    get_model,
    list_models,
    register_model,
)
from keras_sda.applications.model_info import model_info
from keras_sda.applications.preprocess_input import preprocess_input

__all__ = [
    "CIFARDenseNet121",
    "CIFARMobileNetV2",
    "CIFARResNet20",
    "CIFARResNet56",
    "CIFARVGG16",
    "LeNet",
    "ProxylessSupernet",
    "SDASENet",
    "SDASENet50",
    "SDASENet86",
    "SDASENet101",
    "SDASENet152",
    "SDARes2Net",
    "SDARes2Net50",
    "SDARes2Net86",
    "SDARes2Net101",
    "SDARes2Net152",
    "SDAPyConv",
    "SDAPyConv50",
    "SDAPyConv86",
    "SDAPyConv101",
    "SDAPyConv152",
    "SDAEPSANet",
    "SDAEPSANet50",
    "SDAEPSANet86",
    "SDAEPSANet101",
    "SDAEPSANet152",
    "SDACBAM",
    "SDACBAM50",
    "SDACBAM86",
    "SDACBAM101",
    "SDACBAM152",
    "SDAResNet",
    "SDAResNet101",
    "SDAResNet152",
    "SDAResNet20",
    "SDAResNet32",
    "SDAResNet50",
    "SDAResNet56",
    "SDAResNet86",
    "decode_predictions",
    "get_model",
    "list_models",
    "load_weights",
    "model_info",
    "preprocess_input",
    "register_model",
]
