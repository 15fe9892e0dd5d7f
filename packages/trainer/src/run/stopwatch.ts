/** Times steps and guesses what is left. */
export interface Stopwatch {
	now(): number;
	begin(): void;
	/** @param left steps */
	end(left: number): { readonly seconds: number; readonly remainingSeconds: number };
}

/** How much of the mean a new step takes over, once there are enough of them. */
const SHARE = 0.05;

/** The mean is plain at first and then moves, so that it follows a machine that becomes slower. */
export function createStopwatch(now: () => number): Stopwatch {
	let began = 0;
	let mean = 0;
	let count = 0;
	return {
		now,
		begin() {
			began = now();
		},
		end(left) {
			const seconds = (now() - began) / 1000;
			count++;
			// The first step loads sessions and says little about the others.
			mean = count <= 2 ? seconds : mean + (seconds - mean) * Math.max(SHARE, 1 / (count - 1));
			return { seconds, remainingSeconds: mean * left };
		},
	};
}
