/** Sides of a bench as processes of their own, and the Python that has torch. */
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createInterface } from 'node:readline';

const pythonPath = process.env.LORAKIT_DIFFUSERS ?? (fs.existsSync('/opt/snap/diffusers/src') ? '/opt/snap/diffusers/src' : undefined);
const env = {
	...process.env,
	...(pythonPath === undefined ? {} : { PYTHONPATH: [pythonPath, process.env.PYTHONPATH].filter(Boolean).join(':') }),
};

/** The Python that can import these (PYTHON, LORAKIT_DIFFUSERS); undefined: there is none. @param {string} modules */
export function pythonWith(modules) {
	return [process.env.PYTHON, '/opt/lk-venv/bin/python', 'python3'].find(
		(p) => p !== undefined && spawnSync(p, ['-c', `import ${modules}`], { env }).status === 0,
	);
}

/** A process that answers one JSON line for each it is sent. @param {'inherit' | 'ignore'} talk what becomes of its stderr */
export function lineProcess(command, args, talk = 'inherit') {
	const child = spawn(command, args, { stdio: ['pipe', 'pipe', talk], env });
	const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
	const answer = async () => {
		const { value, done } = await lines.next();
		if (done) throw new Error(`${command} ended`);
		return JSON.parse(value);
	};
	return {
		answer,
		ask(...words) {
			child.stdin.write(`${JSON.stringify(words)}\n`);
			return answer();
		},
		close: () => child.stdin.end(),
		stop: () => child.kill('SIGKILL'),
	};
}
