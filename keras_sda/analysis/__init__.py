"""Parameters, multiply-accumulates, latency and depth attention of models."""

from keras_sda.analysis.depth_attention.depth_attention import (
    DepthAttentionWeights,
    depth_attention,
)
from keras_sda.analysis.depth_attention.depth_attention_table import (
    depth_attention_table,
)
from keras_sda.analysis.depth_attention.multi_scale_images import (
    MultiScaleImages,
    multi_scale_images,
)
from keras_sda.analysis.depth_attention.plot_depth_attention import plot_depth_attention
from keras_sda.analysis.latency.compare_latency import compare_latency
from keras_sda.analysis.latency.latency_comparison import LatencyComparison
from keras_sda.analysis.latency.latency_result import LatencyResult
from keras_sda.analysis.latency.latency_table import LatencyTable
from keras_sda.analysis.latency.measure_latency import measure_latency
from keras_sda.analysis.macs.macs_rules import count_macs, register_macs_rule
from keras_sda.analysis.macs.model_profile import LayerProfile, ModelProfile
from keras_sda.analysis.macs.profile import profile

__all__ = [
    "DepthAttentionWeights",
    "LatencyComparison",
    "LatencyResult",
    "LatencyTable",
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
