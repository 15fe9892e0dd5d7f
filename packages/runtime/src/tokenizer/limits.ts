/** What bounds the work done for a tokenizer's files and for a prompt. CLIP has 49,408 tokens in 0.9 MB and 48,894 merges in 0.5 MB. */

/** Characters of vocab.json and of merges.txt. */
export const MAX_TOKENIZER_FILE_CHARACTERS: number = 32 * 1024 * 1024;
/** Characters of tokenizer_config.json, special_tokens_map.json and added_tokens.json. */
export const MAX_TOKENIZER_CONFIG_CHARACTERS: number = 16 * 1024 * 1024;
/** Tokens of a vocabulary, and merges. Pairs of ids must fit one exact double. */
export const MAX_TOKENS: number = 2 ** 20;
/** Tokens beside the vocabulary: placeholders of textual inversion, vectors counted each. */
export const MAX_ADDED_TOKENS: number = 2 ** 16;
/** Characters of one added token. */
export const MAX_ADDED_TOKEN_CHARACTERS: number = 1000;
/** Ids that `encode` may be asked to fill. */
export const MAX_SEQUENCE_LENGTH: number = 2 ** 16;
/** Characters of a prompt. */
export const MAX_PROMPT_CHARACTERS: number = 100_000;
/** Brackets of a prompt that are open at one time. */
export const MAX_OPEN_BRACKETS: number = 256;
/** Words whose ids are remembered, and the longest of them. */
export const MAX_CACHED_WORDS: number = 10_000;
export const MAX_CACHED_WORD_CHARACTERS: number = 64;
