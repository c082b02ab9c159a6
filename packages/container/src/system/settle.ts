// Waiting for several things at once without leaving any of them alone.

/** Like Promise.all, but waits for all before it fails, so that a rollback never races with work still under way. */
export async function settle<T extends readonly unknown[]>(
  work: {
    readonly [K in keyof T]: Promise<T[K]>;
  },
): Promise<T> {
  const results = await Promise.allSettled(work);
  const failed = results.find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  return (await Promise.all(work)) as unknown as T;
}
