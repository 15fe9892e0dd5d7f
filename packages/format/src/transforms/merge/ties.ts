/** How the sign of an element is elected: by the sum of the values, or by the count of their signs. */
export type MajoritySign = 'total' | 'frequency';

/**
 * The elected sign of each element, 1 or -1; a sum of exactly 0 elects 1. The values count as they are: weights come later.
 * Source: PEFT 0.21 peft/utils/merge_utils.py calculate_majority_sign_mask.
 */
export function electedSigns(tasks: readonly Float64Array[], method: MajoritySign): Int8Array {
	const n = tasks[0]?.length ?? 0;
	const sums = new Float64Array(n);
	for (const task of tasks) {
		if (method === 'total') for (let i = 0; i < n; i++) sums[i] = (sums[i] as number) + (task[i] as number);
		else for (let i = 0; i < n; i++) sums[i] = (sums[i] as number) + Math.sign(task[i] as number);
	}
	const out = new Int8Array(n);
	for (let i = 0; i < n; i++) out[i] = (sums[i] as number) >= 0 ? 1 : -1;
	return out;
}

/**
 * TIES without its first step (trim): elect a sign for each element, then take the mean of weight times value over
 * those tasks whose value has it. Zeros have no sign and do not count. Source: PEFT 0.21 peft/utils/merge_utils.py
 * disjoint_merge, as `ties` and `dare_ties` call it.
 */
export function tiesMerged(tasks: readonly Float64Array[], weights: readonly number[], method: MajoritySign): Float64Array {
	const signs = electedSigns(tasks, method);
	const n = signs.length;
	const out = new Float64Array(n);
	const counts = new Uint32Array(n);
	for (const [k, task] of tasks.entries()) {
		const weight = weights[k] ?? 1;
		for (let i = 0; i < n; i++) {
			const x = task[i] as number;
			if (x === 0 || x > 0 !== (signs[i] as number) > 0) continue;
			out[i] = (out[i] as number) + x * weight;
			counts[i] = (counts[i] as number) + 1;
		}
	}
	for (let i = 0; i < n; i++) if ((counts[i] as number) > 1) out[i] = (out[i] as number) / (counts[i] as number);
	return out;
}

/** Sum of weight times value: PEFT's task_arithmetic. */
export function weightedSum(tasks: readonly Float64Array[], weights: readonly number[]): Float64Array {
	const out = new Float64Array(tasks[0]?.length ?? 0);
	for (const [k, task] of tasks.entries()) {
		const weight = weights[k] ?? 1;
		for (let i = 0; i < out.length; i++) out[i] = (out[i] as number) + weight * (task[i] as number);
	}
	return out;
}
