import type { DoraStrength } from '@lorakit/format';

/** Words of `--dora-strength`, the default first. */
export const DORA_STRENGTHS = ['interpolate', 'direction'] as const;
export type DoraStrengthWord = (typeof DORA_STRENGTHS)[number];

/** What `--dora-strength` does, for its help. */
export const DORA_STRENGTH_HELP = 'what a scale other than 1 means for DoRA: part of the way to the result, or a scaled direction';

/** `direction`: the scale counts inside the norm, as PEFT's `set_scale` has it. */
export function doraRule(word: DoraStrengthWord): DoraStrength {
	return word === 'direction' ? 'peft' : 'interpolate';
}
