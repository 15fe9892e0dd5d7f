import { FormatError } from '@lorakit/format';
import { tame } from '../subject/answer.js';
import { judgeDelta } from './judge-delta.js';
import { judgeDescribe } from './judge-describe.js';
import { judgeForward } from './judge-forward.js';
import { judgeImage } from './judge-image.js';
import { judgeOpen } from './judge-open.js';
import { judgeScaling } from './judge-scaling.js';
import { judgeWeights } from './judge-weights.js';
import { differs, type JudgeInput, type Verdict } from './verdict.js';

/** Compare an `ok` answer with the expectation. Never throws for what a subject wrote. */
export async function judge(input: JudgeInput): Promise<Verdict> {
	if (input.expect.refuse === true) {
		return differs(`a file that must be refused was accepted${reason(input.expect.codes)}`, [], 'accepted');
	}
	try {
		switch (input.case.request.op) {
			case 'open':
				return judgeOpen(input);
			case 'describe':
				return judgeDescribe(input);
			case 'scaling':
				return judgeScaling(input);
			case 'delta':
				return await judgeDelta(input);
			case 'weights':
				return await judgeWeights(input);
			case 'forward':
				return await judgeForward(input);
			default:
				return await judgeImage(input);
		}
	} catch (error) {
		const text = error instanceof FormatError ? `${error.code}: ${error.message}` : error instanceof Error ? error.message : String(error);
		return differs(`what the subject wrote cannot be read: ${tame(text, 400)}`, [], 'no-answer');
	}
}

function reason(codes: readonly string[] | undefined): string {
	return codes === undefined || codes.length === 0 ? '' : ` (${codes.join(', ')})`;
}
