import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

/** How writes outside the case's folder are kept from happening, or noticed. */
export type Isolation = 'bubblewrap' | 'hashes';

/** In memory and gone with the subject; PyTorch's workers need it. */
const SCRATCH = '/dev/shm';

/** Device files of accelerators: NVIDIA, DRM, AMD, Linux's accel class, WSL. */
const ACCELERATOR = /^(nvidia.*|dri|kfd|accel|dxg)$/;

/** Program and arguments to spawn. */
export interface Launch {
	readonly program: string;
	readonly args: readonly string[];
}

/** Whether bubblewrap is there and may make its namespaces (containers often forbid it). */
export function findIsolation(want: 'auto' | Isolation = 'auto'): Isolation {
	if (want === 'hashes') return 'hashes';
	const probe = spawnSync('bwrap', [...wall('/tmp'), '--', '/bin/sh', '-c', 'exit 0'], { stdio: 'ignore', timeout: 5000 });
	return probe.status === 0 ? 'bubblewrap' : 'hashes';
}

/** The subject's command line, behind a wall where there is one. @param writable the only folder it may write in */
export function launchOf(command: string, isolation: Isolation, writable: string): Launch {
	const shell = ['/bin/sh', '-c', command];
	if (isolation === 'bubblewrap') return { program: 'bwrap', args: [...wall(writable), '--chdir', process.cwd(), '--', ...shell] };
	return { program: shell[0] ?? '/bin/sh', args: shell.slice(1) };
}

/**
 * The whole file system read-only but for one folder; a `/dev` of its own, with a scratch for what wants shared memory or a
 * temporary folder. Its own process namespace: it can signal nobody outside, and when its first process ends the kernel ends
 * all that it started, also what has left the process group and cleared its environment.
 */
function wall(writable: string): readonly string[] {
	const folder = path.resolve(writable);
	return [
		...['--ro-bind', '/', '/'],
		// The one outside could be written, disks among it.
		...['--dev', '/dev', ...accelerators().flatMap((file) => ['--dev-bind', file, file])],
		...['--tmpfs', SCRATCH, '--setenv', 'TMPDIR', SCRATCH],
		...['--proc', '/proc'],
		...['--bind', folder, folder],
		...['--unshare-net', '--unshare-pid', '--die-with-parent'],
	];
}

function accelerators(): readonly string[] {
	return fs
		.readdirSync('/dev')
		.filter((name) => ACCELERATOR.test(name))
		.map((name) => `/dev/${name}`);
}
