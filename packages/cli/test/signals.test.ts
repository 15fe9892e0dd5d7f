import fs from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { installSignalHandlers, signalsEndAtOnce } from '../src/signals.js';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const before = SIGNALS.map((signal) => process.listeners(signal));

/** Those that this file has put there. */
function own(): readonly number[] {
	return SIGNALS.map((signal, i) => process.listeners(signal).filter((listener) => !before[i]?.includes(listener)).length);
}

describe('signalsEndAtOnce', () => {
	afterEach(() => {
		vi.restoreAllMocks();
		for (const [i, signal] of SIGNALS.entries()) {
			for (const listener of process.listeners(signal)) if (!before[i]?.includes(listener)) process.removeListener(signal, listener);
		}
	});

	it('has no handlers but while something is written, and gives them back, also after a failure', async () => {
		installSignalHandlers();
		expect(own()).toEqual([1, 1, 1]);
		const failing = signalsEndAtOnce(async (writing) => {
			expect(own()).toEqual([0, 0, 0]);
			expect(await writing(async () => own())).toEqual([1, 1, 1]);
			expect(own()).toEqual([0, 0, 0]);
			await expect(writing(() => Promise.reject(new Error('disk')))).rejects.toThrow('disk');
			expect(own()).toEqual([0, 0, 0]);
			throw new Error('engine');
		});
		await expect(failing).rejects.toThrow('engine');
		expect(own()).toEqual([1, 1, 1]);
	});

	it('loses no signal that came just before, while the thread was busy', async () => {
		const exit = vi.spyOn(process, 'exit').mockImplementation((() => undefined) as never);
		// It says so on this process' standard error.
		installSignalHandlers();
		// What goes on after a file was read is in a turn of the loop that has looked for signals already.
		await fs.readFile(fileURLToPath(import.meta.url));
		process.kill(process.pid, 'SIGTERM');
		await signalsEndAtOnce(async () => undefined);
		expect(exit).toHaveBeenCalledWith(143);
	});
});
