export { type AttentionLayer, attentionLayers, placeLayers } from './attention-layers.js';
export { type AttentionMaps, collectMaps, type EditingControl, type MapCollector, type MapOptions } from './attention-maps.js';
export {
	type ExplicitAttentionOptions,
	explicitAttention,
	type HookedAttentionOptions,
	hookedAttention,
	type ProbabilityHook,
	type ProbabilityPart,
	probabilityTap,
} from './explicit-attention.js';
export { LOCAL_BLEND_START, LOCAL_BLEND_THRESHOLD, type LocalBlendOptions, localBlend } from './local-blend.js';
export { greyPicture, type OverlayOptions, overlayPicture, type Size, type TokenMapOptions, tokenMap } from './map-pictures.js';
export { type PromptEdit, type PromptToPromptOptions, promptToPrompt, type StepRange } from './prompt-to-prompt.js';
export { refineMapper, replaceMapper, type TokenMapper } from './token-mappers.js';
export { type WeightedToken, type WeightedWords, weightedWords } from './weighted-words.js';
export { findWord, type SpacedWord, spacedWords, wordTokens } from './word-tokens.js';
