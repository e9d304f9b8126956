/* supervisor.h: what passes between assayd and what started it, by systemd's protocol: sockets handed over, and word of how it
 * goes. Without a supervisor all of this does nothing. Source: sd_listen_fds(3), sd_notify(3); both are meant to be written anew.
 */
#ifndef ASSAY_API_SUPERVISOR_H
#define ASSAY_API_SUPERVISOR_H

#include "engine/base.h"

/* The socket handed over (LISTEN_FDS); -1 where there is none. STATUS_INVALID where there are several. Before any thread: the
 * variables are taken out of the environment. */
MUST_USE enum status supervisor_socket(struct error *error, int *out_file);
/* "READY=1" and the like, a line each. */
void supervisor_tell(const char *state);
/* The settings are being read again; "READY=1" says that they were. */
void supervisor_tell_reloading(void);
/* How often "WATCHDOG=1" is to be told, at least; 0: never. */
int64_t supervisor_watchdog_us(void);

#endif
