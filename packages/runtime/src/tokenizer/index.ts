export { COMMA_BACKTRACK, chunkTokens, type TokenChunk } from './chunk-tokens.js';
export { type ClipTokenizer, type ClipTokenizerFiles, createClipTokenizer, type Placeholder } from './clip-tokenizer.js';
export { type ComposedPrompt, composedPrompts } from './composed-prompts.js';
export { MAX_PROMPT_CHARACTERS } from './limits.js';
export { promptSchedule, type ScheduledText, textOfCall } from './prompt-schedule.js';
export { type PromptLora, type PromptSegment, parseWeightedPrompt, takeNetworks, type WeightedPrompt } from './prompt-weights.js';
