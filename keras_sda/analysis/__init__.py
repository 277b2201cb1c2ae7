"""Parameters, multiply-accumulates and latency of models."""

from keras_sda.analysis.compare_latency import compare_latency
from keras_sda.analysis.latency_comparison import LatencyComparison
from keras_sda.analysis.latency_result import LatencyResult
from keras_sda.analysis.macs_rules import count_macs, register_macs_rule
from keras_sda.analysis.measure_latency import measure_latency
from keras_sda.analysis.model_profile import LayerProfile, ModelProfile
from keras_sda.analysis.profile import profile

__all__ = [
    "LatencyComparison",
    "LatencyResult",
    "LayerProfile",
    "ModelProfile",
    "compare_latency",
    "count_macs",
    "measure_latency",
    "profile",
    "register_macs_rule",
]
