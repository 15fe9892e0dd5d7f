import { spawnSync } from 'node:child_process';
import { performance } from 'node:perf_hooks';

/** Median of numbers. */
export function median(values) {
	const sorted = [...values].sort((a, b) => a - b);
	return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** Wall times in ms of a command, run `runs` times; throws when it fails. */
export function timeCommand(command, args, options = {}) {
	const began = performance.now();
	const result = spawnSync(command, args, { stdio: ['ignore', 'ignore', 'pipe'], ...options });
	const ms = performance.now() - began;
	if (result.status !== 0) throw new Error(`${command} ${args.join(' ')} exited ${result.status}: ${result.stderr}`);
	return ms;
}

/** Time several commands interleaved, so that a busy moment hits all of them; medians in ms. */
export function interleave(commands, runs) {
	const times = commands.map(() => []);
	for (let n = 0; n < runs; n++) for (const [i, run] of commands.entries()) times[i].push(run());
	return times.map(median);
}

/** Peak resident memory of a command in MB, by GNU time. */
export function peakMb(command, args) {
	const result = spawnSync('/usr/bin/time', ['-f', '%M', command, ...args], { encoding: 'utf8' });
	if (result.error !== undefined || result.status !== 0) return undefined;
	return Number(result.stderr.trim().split('\n').at(-1)) / 1024;
}

/** One line of a table. */
export function row(name, value, baseline, ratio, target) {
	console.log(`${name.padEnd(52)} ${value.padStart(12)} ${baseline.padStart(16)} ${ratio.padStart(8)}  ${target}`);
}
