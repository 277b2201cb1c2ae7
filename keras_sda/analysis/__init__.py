"""Parameters, multiply-accumulates, latency and depth attention of models."""

from keras_sda.analysis.compare_latency import compare_latency
from keras_sda.analysis.depth_attention import depth_attention
from keras_sda.analysis.depth_attention_table import depth_attention_table
from keras_sda.analysis.depth_attention_weights import DepthAttentionWeights
from keras_sda.analysis.latency_comparison import LatencyComparison
from keras_sda.analysis.latency_result import LatencyResult
from keras_sda.analysis.macs_rules import count_macs, register_macs_rule
from keras_sda.analysis.measure_latency import measure_latency
from keras_sda.analysis.model_profile import LayerProfile, ModelProfile
from keras_sda.analysis.multi_scale_images import MultiScaleImages, multi_scale_images
from keras_sda.analysis.plot_depth_attention import plot_depth_attention
from keras_sda.analysis.profile import profile

__all__ = [
    "DepthAttentionWeights",
    "LatencyComparison",
    "LatencyResult",
    "LayerProfile",
    "ModelProfile",
    "MultiScaleImages",
    "compare_latency",
    "count_macs",
    "depth_attention",
    "depth_attention_table",
    "measure_latency",
    "multi_scale_images",
    "plot_depth_attention",
    "profile",
    "register_macs_rule",
]
