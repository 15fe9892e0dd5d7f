import { spawnSync } from 'node:child_process';
import path from 'node:path';

/** How writes outside the case's folder are kept from happening, or noticed. */
export type Isolation = 'bubblewrap' | 'hashes';

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

function wall(writable: string): readonly string[] {
	const folder = path.resolve(writable);
	return [
		'--ro-bind',
		'/',
		'/',
		'--dev-bind',
		'/dev',
		'/dev',
		'--proc',
		'/proc',
		'--bind',
		folder,
		folder,
		'--unshare-net',
		'--die-with-parent',
	];
}
