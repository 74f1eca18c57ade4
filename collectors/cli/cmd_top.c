/* SPDX-License-Identifier: PostgreSQL
 *
 * cmd_top.c -- the newest results, live in a terminal.
 *
 * Plain ANSI sequences; the terminal is put back whatever ends the program. It
 * waits on the keyboard, so a key acts at once.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/fetch.h"
#include "cli/home.h"
#include "cli/latest.h"
#include "cli/util.h"

#define REFRESH_MS 1000
#define FETCH_MAX  200

static struct termios saved;
static volatile sig_atomic_t ended;

static void
on_signal(int sig)
{
	ended = 1;
}

static void
terminal_restore(void)
{
	tcsetattr(STDIN_FILENO, TCSANOW, &saved);
	/* Cursor on, back from the other screen. */
	printf("\033[?25h\033[?1049l");
	fflush(stdout);
}

static void
terminal_prepare(void)
{
	struct sigaction act = {.sa_handler = on_signal};
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &saved) != 0)
		util_fail(EXIT_CANNOT, "top needs a terminal: use 'probectl top --once'");
	raw = saved;
	raw.c_lflag &= ~(tcflag_t) (ICANON | ECHO);
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	atexit(terminal_restore);
	printf("\033[?1049h\033[?25l");
}

static void
screen_draw(const struct fetch_target *target)
{
	struct winsize size = {.ws_row = 24, .ws_col = 80};
	struct fetch_answer answer;
	json_t *list = latest_load(target, FETCH_MAX, &answer);
	char now[32];

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row < 5)
		size.ws_row = 24;
	printf("\033[H\033[1mprobectl\033[0m %s  %s  (q quits)\033[K\n\033[K\n", target->url,
	       util_time(util_wall_ms() / 1000, now, sizeof(now)));
	if (list)
	{
		if (json_is_false(json_object_get(list, "collector_running")))
			printf("no agent is running: what follows is old\033[K\n");
		latest_table(list, size.ws_row - 5, size.ws_col > 20 ? size.ws_col : 80, "\033[K\n");
	}
	else
		printf("no answer: %s\033[K\n", fetch_message(&answer));
	printf("\033[J");
	fflush(stdout);
	json_decref(list);
}

static bool
quit_pressed(void)
{
	struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
	char key;

	if (poll(&p, 1, REFRESH_MS) <= 0)
		return false;
	return read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q';
}

static int
top_run(struct cli_args *args)
{
	struct fetch_target target = fetch_target_find(cli_value(args, "home"));

	if (cli_value(args, "once"))
	{
		latest_print(&target, FETCH_MAX);
		return 0;
	}
	terminal_prepare();
	do
		screen_draw(&target);
	while (!ended && !quit_pressed());
	return 0;
}

static const struct cli_option options[] = {
    CLI_OPTION_HOME,
    {"once", NULL, "print the table once and end"},
    CLI_OPTION_END,
};

const struct cli_command cmd_top = {
    .name = "top",
    .summary = "show the newest result of each test, live",
    .text = "  probectl top\n"
            "  probectl top --once\n",
    .options = options,
    .run = top_run,
};
