export { COMMA_BACKTRACK, chunkTokens, type TokenChunk } from './chunk-tokens.js';
export { type ClipTokenizer, type ClipTokenizerFiles, createClipTokenizer, type Placeholder } from './clip-tokenizer.js';
export { MAX_PROMPT_CHARACTERS } from './limits.js';
export { type PromptLora, type PromptSegment, parseWeightedPrompt, type WeightedPrompt } from './prompt-weights.js';
