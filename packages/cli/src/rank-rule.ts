import type { ResizeOptions } from '@lorakit/format';
import { FormatError } from '@lorakit/format';

/** Flags that say which rank to keep, of resize and extract. */
export interface RankFlags {
	readonly rank?: number | undefined;
	readonly convRank?: number | undefined;
	readonly svRatio?: number | undefined;
	readonly svFro?: number | undefined;
	readonly svCumulative?: number | undefined;
}

type Rule = ResizeOptions['rule'];

/** The one rule that was asked for, `--rank` where no other was. @throws {FormatError} `E_USAGE` for several. */
export function rankRule<R extends Rule = never>(
	flags: RankFlags,
	more: readonly R[],
	names: string,
): Exclude<Rule, { kind: 'size' }> | R | undefined {
	const rules: (Exclude<Rule, { kind: 'size' }> | R)[] = [];
	if (flags.svRatio !== undefined) rules.push({ kind: 'sv-ratio', value: flags.svRatio });
	if (flags.svFro !== undefined) rules.push({ kind: 'sv-fro', value: flags.svFro });
	if (flags.svCumulative !== undefined) rules.push({ kind: 'sv-cumulative', value: flags.svCumulative });
	rules.push(...more);
	if (rules.length > 1) throw new FormatError('E_USAGE', `Give one of ${names}; --rank may go with each as an upper bound.`);
	return rules[0] ?? (flags.rank === undefined ? undefined : { kind: 'rank', rank: flags.rank });
}
