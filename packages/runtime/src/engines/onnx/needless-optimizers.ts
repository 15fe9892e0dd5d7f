/**
 * Passes of ONNX Runtime 1.30 over the graph that look for operators none of our models has (onnxruntime/core/optimizer). Each walks
 * through all nodes up to three times and finds nothing: half of what is left of loading a training graph.
 */
export const NEEDLESS_OPTIMIZERS: readonly string[] = [
	// QuantizeLinear and DequantizeLinear, whole numbers, blocks of bits.
	'EnsureUniqueDQForNodeUnit',
	'DoubleQDQPairsRemover',
	'QDQPropagationTransformer',
	'WeightBiasQuantization',
	'WhereDummyDq',
	'QDQS8ToU8Transformer',
	'QDQSelectorActionTransformer',
	'QDQFinalCleanupTransformer',
	'MatMulIntegerToFloatFusion',
	'DynamicQuantizeMatMulFusion',
	'MatMulNBitsFusion',
	// Attention of language models; ours is written as one operator.
	'GroupQueryAttentionFusion',
	'GroupQueryAttentionPreNormFusion',
	'AttentionFusion',
	'EmbedLayerNormFusion',
	// Pow, ReduceMean, Dropout, Range; Gelu and norms are operators already.
	'SimplifiedLayerNormFusion',
	'LayerNormFusionL1',
	'LayerNormFusionL2',
	'GeluFusionL1',
	'GeluFusionL2',
	'FastGeluFusion',
	'BiasDropoutFusion',
	'GatherToSliceFusion',
	'SliceConcatToSpaceToDepthFusion',
	// Nothing is overridden, and equal small tables are one (`Emitter.table`).
	'FreeDimensionOverrideTransformer',
	'ConstantSharing',
];
